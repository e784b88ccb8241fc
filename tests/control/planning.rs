//! What a change would come to, asked of a member.

use ringdove::ring::SLOTS;
use ringdove::wire::Proposed;

use super::net::{Net, seconds};

fn leave(member: &str) -> Proposed {
    Proposed::Leave { member: member.to_owned(), lost: false }
}

#[test]
fn a_plan_shows_who_would_hold_how_much_and_changes_nothing() {
    let mut net = Net::cluster(1, 4);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let before = net.ring_of(0);
    let join = Proposed::Join { zone: "attic".to_owned(), weight: 1 };
    let plan = net.machine(0).plan_shown(&[join]).expect("a plan");
    let total: u32 = plan.members.iter().map(|member| member.slots_after).sum();
    assert_eq!(total, 3 * u32::from(SLOTS));
    let new = plan.members.last().expect("the new one");
    assert_eq!((new.name.as_str(), new.fate.as_str(), new.slots), ("new-1", "joins", 0));
    assert!((9700..=9960).contains(&new.slots_after), "a fifth of all copies: {new:?}");
    assert_eq!(plan.links.iter().map(|link| link.slots).sum::<u32>(), new.copies);
    assert_eq!((plan.rows_at_risk, plan.partitions), (0, 64));
    assert!((80..=120).contains(&plan.partitions_after), "{} partitions", plan.partitions_after);
    assert_eq!(net.ring_of(0), before);
}

#[test]
fn members_that_are_down_put_rows_at_risk_and_send_nothing() {
    let mut net = Net::cluster(2, 4);
    assert!(net.run_until(seconds(10.0), Net::settled));
    let names: Vec<String> = net.machine(0).members().into_iter().map(|line| line.name).collect();
    let gone = net.machine(3).members().into_iter().find(|line| line.me).expect("itself").name;
    net.kill(3);
    let down = |net: &Net| net.machine(0).members().iter().any(|line| line.state == "DN");
    assert!(net.run_until(seconds(60.0), down));
    let plan = net.machine(0).plan_shown(&[leave(&gone)]).expect("a plan");
    assert!(plan.links.iter().all(|link| link.from != gone && link.to != gone), "{plan:?}");
    assert!(plan.rows > 0 && plan.rows_at_risk == plan.rows, "each has one of three owners down");
    let left = plan.members.iter().find(|member| member.name == gone).expect("listed");
    assert_eq!((left.fate.as_str(), left.slots_after), ("leaves", 0));
    let all: Vec<Proposed> = names.iter().map(|name| leave(name)).collect();
    let why = net.machine(0).plan_shown(&all).expect_err("refused");
    assert!(why.contains("nobody would be left"), "{why}");
    let why = net.machine(0).plan_shown(&[leave("nobody")]).expect_err("refused");
    assert!(why.contains("no member is called nobody"), "{why}");
    assert!(net.machine(0).plan_shown(&[]).is_err());
}
