//! What the ring does to the members that are known: newcomers, and ghosts.

mod probing;

use super::*;
use crate::causality::Secret;
use crate::ring::{ClusterId, Member, Settings, found};
use crate::wire::gossip::{Gossip, Rank};

fn ring(epoch: u32, numbers: &[u16]) -> Ring {
    let member = |number: &u16| Member {
        number: MemberNumber(*number),
        id: NodeId(u128::from(*number) << 64),
        name: format!("n{number}"),
        addr: ([10, 0, 0, *number as u8], 7400).into(),
        zone: String::new(),
        weight: 1,
        since: Epoch(1),
        leaving: false,
    };
    let members = numbers.iter().map(member).collect();
    let ring = found(ClusterId(1), Secret([0; 16]), members, Settings::default());
    Ring { epoch: Epoch(epoch), ..ring }
}

fn membership(effects: &mut Vec<Effect>) -> Membership {
    let ring = ring(1, &[1, 2, 3]);
    let me = &ring.members[0];
    let voice = Voice {
        id: me.id,
        boot: 1,
        life: 1,
        name: me.name.clone(),
        addr: me.addr,
        shards: 2,
        log: Vec::new(),
        incarnation: 0,
        told: (ring.epoch, 0),
        version: 1,
        left: false,
    };
    Membership::new(ring, &[], voice, 1, Duration::ZERO, effects)
}

/// Another says this to the first.
fn say(
    members: &mut Membership,
    from: u16,
    epoch: u32,
    news: Vec<News>,
    effects: &mut Vec<Effect>,
) {
    let ring = ring(epoch, &[1, 2, 4]);
    let from = ring.member(MemberNumber(from)).expect("a member");
    let head = Head {
        cluster: ring.cluster,
        from: from.id,
        to: members.voice.id,
        boot: 3,
        life: 9,
        incarnation: 0,
        epoch: ring.epoch,
        ring: ring.hash(),
        fingerprint: 0,
    };
    let datagram = Datagram::Rumours(Gossip { head, news });
    members.hear(Duration::ZERO, from.addr, datagram, effects).expect("a member speaks");
}

fn alive(of: u16) -> News {
    let (claim, of) = (Claim::alive(3, 0), MemberNumber(of));
    News { of, claim, accusers: Vec::new(), essentials: None, details: None }
}

/// Who is no member any more is forgotten, for ever: no claim brings it back. Newcomers exist at once.
#[test]
fn ghosts() {
    let mut effects = Vec::new();
    let mut members = membership(&mut effects);
    say(&mut members, 2, 2, vec![alive(3), alive(4)], &mut effects);
    let known = |members: &Membership| -> Vec<(u16, Option<Rank>)> {
        members.known.iter().map(|(number, known)| (number.0, known.rank())).collect()
    };
    assert_eq!(known(&members), [(2, Some(Rank::Alive)), (3, Some(Rank::Alive))], "4 is no member");
    let before = members.fingerprint();
    members.adopt(Arc::new(ring(2, &[1, 2, 4])), Duration::ZERO);
    assert_eq!(known(&members), [(2, Some(Rank::Alive)), (4, None)]);
    assert_ne!(members.fingerprint(), before);
    for _ in 0..3 {
        say(&mut members, 2, 2, vec![alive(3), alive(4)], &mut effects);
        members.tick(Duration::from_secs(1), &mut effects);
    }
    assert_eq!(known(&members), [(2, Some(Rank::Alive)), (4, Some(Rank::Alive))]);
    members.publish(Duration::ZERO, &mut effects);
    assert_eq!(members.view().ring.epoch, Epoch(2));
}

/// Whose ring is newer is known from its first word, and asked once it is known where it is.
#[test]
fn a_newer_ring_is_noticed() {
    let mut effects = Vec::new();
    let mut members = membership(&mut effects);
    assert_eq!(members.newer_ring(), None);
    let stamp = crate::wire::gossip::Stamp { boot: 3, version: 1 };
    let addr = ([10, 0, 0, 2], 7400).into();
    let essentials = Some(crate::wire::gossip::Essentials { stamp, addr, shards: 4 });
    say(&mut members, 2, 2, vec![News { essentials, ..alive(2) }], &mut effects);
    assert_eq!(members.newer_ring(), Some(MemberNumber(2)));
    members.adopt(Arc::new(ring(2, &[1, 2, 4])), Duration::ZERO);
    assert_eq!(members.newer_ring(), None);
}

/// Of whose ring something is news the register is told once: when they say another one, when they come up, and when this node
/// has another ring itself. A newer one is pulled instead.
#[test]
fn rings_are_compared_when_something_has_changed() {
    let mut effects = Vec::new();
    let mut members = membership(&mut effects);
    let mut now = Duration::ZERO;
    let mut told = |members: &mut Membership| {
        now += Duration::from_secs(1);
        members.publish(now, &mut effects);
        let rings = members.rings_to_compare().into_iter();
        rings.map(|(id, epoch, ring)| ((id.0 >> 64) as u16, epoch.0, ring)).collect::<Vec<_>>()
    };
    let place = |of: u16| {
        let stamp = crate::wire::gossip::Stamp { boot: 3, version: 1 };
        let addr = ([10, 0, 0, of as u8], 7400).into();
        let essentials = Some(crate::wire::gossip::Essentials { stamp, addr, shards: 4 });
        News { essentials, ..alive(of) }
    };
    assert_eq!(told(&mut members), [], "nobody is up");
    let first = ring(1, &[1, 2, 4]).hash();
    let next = ring(2, &[1, 2, 4]).hash();
    say(&mut members, 2, 1, vec![alive(2)], &mut Vec::new());
    assert_eq!(told(&mut members), [], "it is not known where it is");
    say(&mut members, 2, 1, vec![place(2), place(3)], &mut Vec::new());
    assert_eq!(told(&mut members), [(2, 1, first), (3, 0, 0)], "they are up");
    say(&mut members, 2, 1, vec![place(2)], &mut Vec::new());
    assert_eq!(told(&mut members), [], "nothing is new");
    say(&mut members, 2, 2, vec![], &mut Vec::new());
    assert_eq!(told(&mut members), [], "a newer one is pulled");
    assert_eq!(members.newer_ring(), Some(MemberNumber(2)));
    members.adopt(Arc::new(ring(2, &[1, 2, 3])), Duration::ZERO);
    assert_eq!(told(&mut members), [(2, 2, next), (3, 0, 0)], "another ring of the same epoch");
    let details = crate::wire::gossip::Details {
        stamp: crate::wire::gossip::Stamp { boot: 3, version: 2 },
        name: "n3".to_owned(),
        epoch: Epoch(2),
        ring: 7,
    };
    let hearsay = News { details: Some(details), ..alive(3) };
    say(&mut members, 2, 2, vec![hearsay], &mut Vec::new());
    assert_eq!(told(&mut members), [(3, 2, 7)], "others say what it said");
    let down = |rank, boot| News { claim: Claim { boot, incarnation: 0, rank }, ..alive(3) };
    say(&mut members, 2, 2, vec![down(Rank::Down, 3)], &mut Vec::new());
    assert_eq!(told(&mut members), [], "it is down");
    say(&mut members, 2, 2, vec![down(Rank::Alive, 4)], &mut Vec::new());
    assert_eq!(told(&mut members), [(3, 2, 7)], "it is up again");
}
