//! The client against a node that plays a script: frames over a real loopback socket, and every way
//! in which a node can fail a client.

mod node;

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;

use super::*;
use crate::causality::{Actor, Dot, DotSet, Meta, Value};
use crate::ring::MemberNumber;
use crate::rt::block_on;
use crate::wire::{
    self, Decline, Explanation, Failure, FailureCode, GetReply, Greeting, HEADER_BYTES, PutReply,
    Refusal, Refused, ReplicaShown, SiblingList, Source,
};
use node::{Node, nobody, node, serving, welcome};

/// How long a script waits for what is bound to come, before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(endpoints: &[&str]) -> Result<Client, ClientError> {
    let options = ClientOptions { name: "till-3".to_owned(), ..ClientOptions::default() };
    block_on(Client::connect(endpoints, options))
}

fn key(name: &str) -> Key {
    Key::new("cart", name.as_bytes()).expect("a key")
}

fn dot() -> Dot {
    Dot::new(Actor::new(7, 1), 1)
}

/// A get's reply that shows the key asked for.
fn found(request: &Frame) -> Message {
    let Message::Get(get) = &request.message else { panic!("a get, not {request:?}") };
    let value = Value { meta: Meta::default(), bytes: Bytes::copy_from_slice(get.key.key()) };
    Message::GetReply(GetReply {
        values: vec![(dot(), value)],
        omitted: 0,
        context: Bytes::from_static(b"token"),
        answered: 2,
        needed: 2,
        source: Source::Owners,
    })
}

fn put_reply(outcome: Outcome) -> Message {
    Message::PutReply(PutReply {
        outcome,
        dot: Some(dot()),
        context: Bytes::from_static(b"token"),
        owners: 1,
        fallbacks: 0,
        needed: 2,
        siblings: 1,
    })
}

fn shown(message: Message) -> Bytes {
    let Message::GetReply(reply) = message else { panic!("a reply to a get, not {message:?}") };
    Got::from(reply).bytes().expect("one value").clone()
}

fn unknown_of(error: ClientError) -> Unknown {
    assert!(error.may_have_applied());
    match error {
        ClientError::Unknown(unknown) => *unknown,
        other => panic!("the outcome is unknown, not {other:?}"),
    }
}

#[test]
fn what_is_asked_for_is_what_is_sent() {
    let (addr, script) = node(|listener| {
        let mut node = Node::accept(&listener);
        let hello = node.hello();
        assert_eq!(hello.purpose, Purpose::Client { name: "till-3".to_owned() });
        node.greet(&Greeting::Welcome(welcome(true)));
        let request = node.request();
        assert_eq!(request.token, Token::of(&key("ann")));
        assert_eq!(request.slot, request.token.slot());
        let Message::Put(put) = &request.message else { panic!("a put") };
        let expected = Put {
            key: key("ann"),
            value: Some(Bytes::from_static(b"tea")),
            basis: Basis::Context(Bytes::from_static(b"seen")),
            level: Level::All,
            strict: true,
            operation: 99,
            again: false,
            writer: "till-3".to_owned(),
            timeout_ms: 1500,
            forwarded: false,
        };
        assert_eq!(put, &expected);
        node.reply(&request, put_reply(Outcome::Ok));

        let first = node.request();
        let Message::Put(delete) = &first.message else { panic!("a delete") };
        assert_eq!((&delete.value, &delete.basis), (&None, &Basis::Overwrite));
        node.reply(&first, put_reply(Outcome::Ok));
        let second = node.request();
        let Message::Put(again) = &second.message else { panic!("a delete") };
        assert_ne!(delete.operation, again.operation, "every write has a name of its own");
        assert_eq!(again.basis, Basis::Blind);
        node.reply(&second, put_reply(Outcome::Ok));
        let third = node.request();
        let Message::Put(retry) = &third.message else { panic!("a put") };
        assert_eq!((retry.operation, retry.again), (7, true));
        node.reply(&third, put_reply(Outcome::Ok));

        let question = node.request();
        assert_eq!(question.message, Message::Question(Question::Members));
        let answer = Answer::Siblings(SiblingList::default());
        node.reply(&question, Message::Answer(answer));
    });
    let client = connect(&[&addr]).expect("let in");
    assert_eq!(client.node(), Some(welcome(true)));
    block_on(async {
        let put = client.put(&key("ann"), "tea").context("seen").level(Level::All).strict();
        let done = put.operation(99).timeout(Duration::from_millis(1500)).await.expect("done");
        assert_eq!((done.operation, done.outcome, done.dot), (99, Outcome::Ok, Some(dot())));
        assert_eq!((done.owners, done.fallbacks, done.needed, done.siblings), (1, 0, 2, 1));
        client.delete(&key("ann")).await.expect("done");
        client.delete(&key("ann")).blind().await.expect("done");
        client.put(&key("ann"), "tea").retry(7).await.expect("done");
        let answer = client.ask(Question::Members).await.expect("answered");
        assert_eq!(answer, Answer::Siblings(SiblingList::default()));
    });
    script.join().expect("the script ran");
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let (addr, script) = serving(|node| {
        let mut requests: Vec<Frame> = (0..100).map(|_| node.request()).collect();
        requests.reverse();
        for request in requests {
            // An answer that comes twice, or to nobody, disturbs nobody.
            node.reply(&Frame { request: 1 << 40, ..request.clone() }, found(&request));
            node.reply(&request, found(&request));
            node.reply(&request, Message::Failure(Failure::new(FailureCode::Refused, "twice")));
        }
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        let mut pending = Vec::new();
        for number in 0..100 {
            let get = client.get(&key(&number.to_string())).into_message();
            pending.push((number, client.start(get).await.expect("sent")));
        }
        for (number, pending) in pending {
            let reply = pending.await.expect("answered");
            assert_eq!(shown(reply), number.to_string());
        }
    });
    script.join().expect("the script ran");
}

#[test]
fn the_next_request_waits_while_256_are_under_way() {
    let (go, gone) = std::sync::mpsc::channel();
    let (addr, script) = serving(move |node| {
        let requests: Vec<Frame> = (0..256).map(|_| node.request()).collect();
        gone.recv_timeout(PATIENCE).expect("told to go on");
        node.reply(&requests[0], found(&requests[0]));
        let last = node.request();
        node.reply(&last, found(&last));
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        let get = || client.get(&key("ann")).into_message();
        let mut pending = Vec::new();
        for _ in 0..256 {
            pending.push(client.start(get()).await.expect("sent"));
        }
        let mut last = pin!(client.start(get()));
        assert!(future::poll_once(last.as_mut()).await.is_none(), "there is no room");
        go.send(()).expect("the script waits");
        let answered = pending.swap_remove(0).await.expect("answered");
        assert_eq!(shown(answered), "ann");
        let last = last.await.expect("there is room now");
        assert_eq!(shown(last.await.expect("answered")), "ann");
    });
    script.join().expect("the script ran");
}

#[test]
fn a_write_under_a_broken_connection_is_unknown() {
    for basis in [Basis::Blind, Basis::Overwrite] {
        let (addr, script) = serving(|node| drop(node.request()));
        let client = connect(&[&addr]).expect("let in");
        let put = client.put(&key("ann"), "tea").basis(basis.clone()).operation(99);
        let error = block_on(put.send()).expect_err("nobody knows");
        assert_eq!(
            error.retryable(),
            basis == Basis::Blind,
            "an overwrite may replace later writes"
        );
        let text = error.to_string();
        assert!(text.contains("may have happened"), "{text}");
        let unknown = unknown_of(error);
        assert_eq!((unknown.operation, unknown.reply), (99, None));
        script.join().expect("the script ran");
    }
}

#[test]
fn a_read_under_a_broken_connection_is_asked_elsewhere() {
    let (first, script) = serving(|node| drop(node.request()));
    let (second, other) = serving(|node| {
        let request = node.request();
        node.reply(&request, found(&request));
    });
    let client = connect(&[&first, &second]).expect("let in");
    let got = block_on(client.get(&key("ann")).send()).expect("answered elsewhere");
    assert_eq!(got.bytes(), Some(&Bytes::from_static(b"ann")));
    assert!(!got.is_conflict() && !got.is_missing());
    script.join().expect("the script ran");
    other.join().expect("the script ran");
}

#[test]
fn what_a_node_that_is_not_ready_refuses_is_asked_elsewhere() {
    let not_ready = |node: &mut Node| {
        let request = node.request();
        let failure = Failure::new(FailureCode::NotReady, "still founding");
        node.reply(&request, Message::Failure(failure));
    };
    let (first, script) = serving(not_ready);
    let (second, other) = serving(|node| {
        for _ in 0..2 {
            let request = node.request();
            node.reply(&request, put_reply(Outcome::Ok));
        }
    });
    let client = connect(&[&first, &second]).expect("let in");
    block_on(client.put(&key("ann"), "tea").send())
        .expect("refused without effect, done elsewhere");
    block_on(client.put(&key("ann"), "tea").send()).expect("it stays there");
    script.join().expect("the script ran");
    other.join().expect("the script ran");

    let (only, script) = serving(move |node| {
        not_ready(node);
        not_ready(node);
        let request = node.request();
        let Message::Put(put) = &request.message else { panic!("a put") };
        assert!(put.timeout_ms < 60_000, "less time is left than at first");
        node.reply(&request, put_reply(Outcome::Ok));
        not_ready(node);
    });
    let client = connect(&[&only]).expect("let in");
    block_on(client.put(&key("ann"), "tea").timeout(PATIENCE).send()).expect("ready in the end");
    let put = client.put(&key("ann"), "tea").timeout(Duration::from_millis(1));
    let error = block_on(put.send()).expect_err("there is no time to wait");
    assert!(error.to_string().contains("still founding"), "{error}");
    assert!(error.retryable() && !error.may_have_applied());
    script.join().expect("the script ran");
}

#[test]
fn a_write_after_a_broken_connection_goes_elsewhere() {
    let (first, script) = serving(|_| ());
    let (second, other) = serving(|node| {
        let request = node.request();
        node.reply(&request, put_reply(Outcome::Ok));
    });
    let client = connect(&[&first, &second]).expect("let in");
    script.join().expect("the script ran");
    block_on(async {
        // Bounded by the test's patience: the client learns of the end when its reader does.
        let deadline = Instant::now() + PATIENCE;
        while client.node().is_some() && Instant::now() < deadline {
            future::yield_now().await;
        }
        client.put(&key("ann"), "tea").await.expect("nothing was under way");
    });
    other.join().expect("the script ran");
}

#[test]
fn a_read_is_not_asked_for_ever() {
    let (addr, script) = node(|listener| {
        for _ in 0..2 {
            drop(Node::open(&listener, true).request());
        }
    });
    let client = connect(&[&addr]).expect("let in");
    let error = block_on(client.get(&key("ann")).send()).expect_err("it breaks every time");
    assert!(matches!(error, ClientError::Broken(_)), "{error:?}");
    assert!(error.retryable() && !error.may_have_applied());
    script.join().expect("the script ran");
    let error = block_on(client.get(&key("ann")).send()).expect_err("nobody listens any more");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_refusal_is_told_in_its_own_words() {
    let refuse = |listener: TcpListener| {
        let mut node = Node::accept(&listener);
        node.hello();
        let refused = Refused::new(Refusal::TooMany, "four thousand clients are connected");
        node.greet(&Greeting::Refused(refused));
    };
    let (first, script) = node(refuse);
    let nobody = nobody();
    let error = connect(&[&first, &nobody, "no port here"]).expect_err("nobody lets it in");
    let ClientError::Unreachable { tried } = &error else { panic!("{error:?}") };
    let endpoints: Vec<&str> = tried.iter().map(|tried| tried.endpoint.as_str()).collect();
    assert_eq!(endpoints, [&first, &nobody, "no port here"]);
    assert!(tried[0].why.contains("four thousand"), "{}", tried[0].why);
    assert!(tried[2].why.contains("host:port"), "{}", tried[2].why);
    assert!(error.to_string().contains("nothing was sent"));
    script.join().expect("the script ran");

    let (first, script) = node(refuse);
    let (second, other) = serving(|_| ());
    connect(&[&first, &second]).expect("the second lets it in");
    script.join().expect("the script ran");
    other.join().expect("the script ran");
}

#[test]
fn a_node_that_serves_is_preferred_and_one_that_waits_is_better_than_none() {
    let (idle, script) = node(|listener| Node::open(&listener, false).closed());
    let (serves, other) = node(|listener| Node::open(&listener, true).closed());
    let client = connect(&[&idle, &serves]).expect("let in");
    assert!(client.node().expect("connected").serving);
    // Its connection closes with its last clone.
    let clone = client.clone();
    drop(client);
    assert!(clone.node().is_some());
    drop(clone);
    script.join().expect("the script ran");
    other.join().expect("the script ran");

    let (idle, script) = node(|listener| Node::open(&listener, false).closed());
    let client = connect(&[&idle]).expect("let in");
    assert!(!client.node().expect("connected").serving);
    drop(client);
    script.join().expect("the script ran");
}

#[test]
fn a_welcome_to_another_protocol_is_no_welcome() {
    let answers = [
        Greeting::Welcome(Welcome { protocol: 9, ..welcome(true) }),
        Greeting::Hello(Hello::new(Purpose::Client { name: "n7".to_owned() })),
    ];
    for (answer, words) in answers.into_iter().zip(["protocol 9", "with a hello"]) {
        let (addr, script) = node(move |listener| {
            let mut node = Node::accept(&listener);
            node.hello();
            node.greet(&answer);
        });
        let error = connect(&[&addr]).expect_err("no protocol in common");
        assert!(error.to_string().contains(words), "{error}");
        script.join().expect("the script ran");
    }
}

#[test]
fn what_is_no_protocol_ends_the_connection() {
    // A flipped bit, a length no frame has, another kind than replies, another protocol altogether.
    let mut flipped = Vec::new();
    let slot = Slot::new(0).expect("a slot");
    let message = Message::Failure(Failure::new(FailureCode::Refused, "no"));
    let frame = Frame { slot, epoch: Epoch(0), request: 1, token: Token(0), message };
    wire::encode(&frame, &mut flipped).expect("it fits");
    flipped[HEADER_BYTES + 3] ^= 1;
    let mut out_of_place = Vec::new();
    let frame = Frame { message: Message::Declined(Decline::NotMine), ..frame };
    wire::encode(&frame, &mut out_of_place).expect("it fits");
    let answers = [
        (flipped, "checksum"),
        (vec![0xff; HEADER_BYTES], "at most"),
        (out_of_place, "Declined"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: other\r\n\r\n".to_vec(), "not this protocol"),
    ];
    for (answer, words) in answers {
        let bytes = answer.clone();
        let (addr, script) = node(move |listener| {
            for _ in 0..3 {
                let mut node = Node::open(&listener, true);
                node.request();
                node.bytes(&bytes);
                node.closed();
            }
        });
        let client = connect(&[&addr]).expect("let in");
        let error = block_on(client.get(&key("ann")).send()).expect_err("no answer");
        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        let put = client.put(&key("ann"), "tea").send();
        let unknown = unknown_of(block_on(put).expect_err("no answer"));
        assert!(unknown.why.contains(words), "{}", unknown.why);
        script.join().expect("the script ran");
    }
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let (addr, script) = serving(|node| {
        let request = node.request();
        node.reply(&request, put_reply(Outcome::Ok));
        let request = node.request();
        node.reply(&request, Message::Answer(Answer::Siblings(SiblingList::default())));
    });
    let client = connect(&[&addr]).expect("let in");
    let error = block_on(client.get(&key("ann")).send()).expect_err("a put's reply");
    assert!(matches!(&error, ClientError::Protocol(why) if why.contains("PutReply")), "{error:?}");
    let error = block_on(client.put(&key("ann"), "tea").send()).expect_err("an answer");
    assert!(unknown_of(error).why.contains("Answer"));
    script.join().expect("the script ran");
}

#[test]
fn what_comes_too_late_does_not_come() {
    let (addr, script) = serving(|node| {
        let late = [node.request(), node.request()];
        let next = node.request();
        node.reply(&late[0], found(&late[0]));
        node.reply(&late[1], put_reply(Outcome::Ok));
        node.reply(&next, found(&next));
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        let soon = Duration::from_millis(1);
        let error = client.get(&key("late")).timeout(soon).await.expect_err("no answer");
        assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
        let put = client.put(&key("late"), "tea").blind().timeout(soon);
        let unknown = unknown_of(put.await.expect_err("no answer"));
        assert!(unknown.repeatable && unknown.reply.is_none());
        // The connection is as good as before, and the late answers go to nobody.
        let got = client.get(&key("next")).await.expect("answered");
        assert_eq!(got.bytes(), Some(&Bytes::from_static(b"next")));
    });
    script.join().expect("the script ran");
}

#[test]
fn the_nodes_own_word_is_told_as_it_is() {
    let codes = [
        (FailureCode::LevelNotMet, true),
        (FailureCode::BadContext, false),
        (FailureCode::TooManySiblings, false),
        (FailureCode::Overloaded, true),
    ];
    let (addr, script) = serving(move |node| {
        let request = node.request();
        node.reply(&request, put_reply(Outcome::Unknown));
        for (code, _) in codes {
            let request = node.request();
            node.reply(&request, Message::Failure(Failure::new(code, "in these words")));
        }
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        let error = client.put(&key("ann"), "tea").operation(99).await.expect_err("unknown");
        let unknown = unknown_of(error);
        let reply = unknown.reply.expect("the node said who has it");
        assert_eq!((reply.outcome, reply.owners, reply.needed), (Outcome::Unknown, 1, 2));
        assert_eq!((unknown.operation, reply.operation), (99, 99));
        for (code, retryable) in codes {
            let error = client.put(&key("ann"), "tea").await.expect_err("refused");
            assert_eq!(error, ClientError::Refused(Failure::new(code, "in these words")));
            assert_eq!((error.retryable(), error.may_have_applied()), (retryable, false));
            let text = error.to_string();
            assert!(text.starts_with("in these words; the request had no effect; "), "{text}");
        }
    });
    script.join().expect("the script ran");
}

#[test]
fn what_is_no_request_is_not_sent() {
    let (addr, script) = node(|listener| Node::open(&listener, true).closed());
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        let large = vec![0; VALUE_BYTES_MAX + 1];
        let refused = [
            client.put(&key("ann"), large).await.expect_err("too large"),
            client.put(&key("ann"), "tea").level(Level::Count(0)).await.expect_err("no level"),
            client.get(&key("ann")).level(Level::Count(0)).await.map(drop).expect_err("no level"),
            client.put(&key("ann"), "").context(vec![0; 10 << 20]).await.expect_err("too large"),
            client.submit(Message::Stored).await.map(drop).expect_err("no request"),
        ];
        for error in refused {
            assert!(matches!(error, ClientError::Invalid(_)), "{error:?}");
            assert!(error.to_string().contains("nothing was sent"));
        }
    });
    drop(client);
    script.join().expect("the script ran");
    assert!(matches!(connect(&[]), Err(ClientError::Invalid(_))));
    let options = ClientOptions { name: "x".repeat(300), ..ClientOptions::default() };
    let error = block_on(Client::connect(&[addr], options)).expect_err("the name is too long");
    assert!(matches!(error, ClientError::Invalid(_)), "{error:?}");
}

#[test]
fn a_stable_write_is_one_that_every_owner_has_seen() {
    let (addr, script) = serving(|node| {
        for refused in [2, 0] {
            let request = node.request();
            assert!(matches!(&request.message, Message::Put(Put { value: None, .. })));
            node.reply(&request, put_reply(Outcome::Ok));
            for looks in 0..=refused {
                let request = node.request();
                let Message::Get(get) = &request.message else { panic!("a get") };
                assert_eq!((get.level, &get.floor), (Level::All, &Bytes::from_static(b"token")));
                if looks < refused {
                    let failure = Failure::new(FailureCode::NotYet, "one has not");
                    node.reply(&request, Message::Failure(failure));
                } else {
                    node.reply(&request, found(&request));
                }
            }
        }
        // A write whose outcome is unknown is not waited for.
        let request = node.request();
        node.reply(&request, put_reply(Outcome::Unknown));
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        for _ in 0..2 {
            let done = client.delete(&key("ann")).until_stable(PATIENCE).await.expect("stable");
            assert_eq!(done.outcome, Outcome::Ok);
        }
        let error = client.put(&key("ann"), "tea").until_stable(PATIENCE).await.expect_err("lost");
        assert!(matches!(error, ClientError::Unknown(_)), "{error:?}");
    });
    script.join().expect("the script ran");
}

#[test]
fn who_does_not_have_a_write_in_time_is_named_and_the_write_is_done() {
    let shown = |number: u16, clock: &str| ReplicaShown {
        member: MemberNumber(number),
        name: format!("n{number}"),
        owner: true,
        clock: clock.to_owned(),
        residual: String::new(),
        values: Vec::new(),
        replaced: Vec::new(),
        hints: Vec::new(),
    };
    let explanation = Explanation {
        bucket: "cart".to_owned(),
        key: "ann".to_owned(),
        token: String::new(),
        slot: 0,
        owners: vec![MemberNumber(7), MemberNumber(8), MemberNumber(9)],
        replicas: vec![shown(7, &DotSet::of(dot()).to_string()), shown(8, "{}")],
        missing: vec!["n9".to_owned()],
        names: (7..=9).map(|number| (MemberNumber(number), format!("n{number}"))).collect(),
    };
    let (addr, script) = serving(move |node| {
        let request = node.request();
        node.reply(&request, put_reply(Outcome::Ok));
        loop {
            let request = node.request();
            if let Message::Question(_) = &request.message {
                let answer = Answer::Explain(explanation.clone());
                return node.reply(&request, Message::Answer(answer));
            }
            let failure = Failure::new(FailureCode::LevelNotMet, "n9 is away");
            node.reply(&request, Message::Failure(failure));
        }
    });
    let client = connect(&[&addr]).expect("let in");
    let request = client.put(&key("ann"), "tea").until_stable(Duration::from_millis(1));
    let error = block_on(request.send()).expect_err("n9 is away");
    assert!(error.may_have_applied() && !error.retryable());
    let text = error.to_string();
    assert!(text.contains("the write is done") && text.contains("n8 and n9"), "{text}");
    let ClientError::NotStable(unstable) = error else { panic!("{error:?}") };
    assert_eq!(unstable.lacking, ["n8", "n9"]);
    assert_eq!((unstable.done.outcome, unstable.done.dot), (Outcome::Ok, Some(dot())));
    script.join().expect("the script ran");
}

#[test]
fn a_request_under_way_takes_little_memory() {
    let (addr, script) = node(|listener| Node::open(&listener, true).closed());
    let client = connect(&[&addr]).expect("let in");
    let size = size_of_val(&client.get(&key("ann")).send());
    assert!(size < 4096, "a get's future has {size} bytes");
    drop(client);
    script.join().expect("the script ran");
}

#[test]
fn the_largest_values_go_through_both_ways() {
    let (addr, script) = serving(|node| {
        for _ in 0..4 {
            let request = node.request();
            let Message::Put(Put { value: Some(value), .. }) = &request.message else {
                panic!("a put")
            };
            let value = Value { meta: Meta::default(), bytes: value.clone() };
            let reply = GetReply {
                values: vec![(dot(), value)],
                omitted: 0,
                context: Bytes::new(),
                answered: 1,
                needed: 1,
                source: Source::Owners,
            };
            node.reply(&request, Message::GetReply(reply));
        }
    });
    let client = connect(&[&addr]).expect("let in");
    block_on(async {
        // More than the outbox takes at a time, so that requests wait for room in it too.
        let value = |fill: u8| Bytes::from(vec![fill; VALUE_BYTES_MAX]);
        let mut pending = Vec::new();
        for fill in 0..4 {
            let put = client.put(&key("ann"), value(fill)).timeout(PATIENCE).into_message();
            pending.push((fill, client.start(put).await.expect("sent")));
        }
        for (fill, pending) in pending {
            assert!(shown(pending.await.expect("echoed")) == value(fill));
        }
    });
    script.join().expect("the script ran");
}
