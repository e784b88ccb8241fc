//! The command as people and scripts use it: the real binary, real sockets, real exit codes.
//!
//! Waits are for conditions, within a bound; every process started here is ended here.

mod process;
mod resolve;
mod stable;

use std::path::Path;

use serde_json::Value;

use process::{Ended, Peer, directory, fed, ringdove, run};

#[test]
fn a_value_comes_back_as_it_was_and_outlives_its_node() {
    let dir = directory();
    let data = dir.path().join("made/on/the/way");
    let peer = Peer::start(&data);
    let told = peer.run(&["put", "greeting", "hello"]).with(0);
    assert_eq!(told.out, "ok written: on the disk of 1 owner (1 asked for)\n");
    assert_eq!(peer.run(&["get", "greeting"]).with(0).out, "hello", "and nothing else");
    peer.fed(&["put", "lines", "-"], b"one\ntwo\n").with(0);
    assert_eq!(peer.run(&["get", "lines"]).with(0).out, "one\ntwo\n");
    peer.run(&["put", "greeting", "-5", "-b", "other.bucket"]).with(0);
    assert_eq!(peer.run(&["get", "greeting", "-b", "other.bucket"]).with(0).out, "-5");

    let got = peer.run(&["get", "greeting", "-o", "json"]).with(0).json();
    assert_eq!((&got["bucket"], &got["key"]), (&"default".into(), &"greeting".into()));
    let value = &got["values"][0];
    assert_eq!((&value["value"], &value["written_by"]), (&"hello".into(), &"cli".into()));
    assert!(value["written_at"].as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')));
    assert!(value["dot"].as_str().is_some_and(|dot| dot.contains('~') && dot.contains(':')));

    peer.fed(&["put", "bytes", "-"], &[0xff, 0, 0xfe]).with(0);
    let got = peer.run(&["get", "bytes", "-o", "json"]).with(0).json();
    assert_eq!(got["values"][0]["value_base64"], "/wD+");
    assert!(got["values"][0].get("value").is_none());

    assert_eq!(peer.stop(), 0);
    let peer = Peer::start(&data);
    assert_eq!(peer.run(&["get", "greeting"]).with(0).out, "hello");
    peer.run(&["delete", "greeting"]).with(0);
    let missing = peer.run(&["get", "greeting"]).with(3);
    assert!(missing.out.is_empty());
    assert!(missing.err.contains("error: greeting has no value"), "{}", missing.err);
    assert!(missing.err.contains("ringdove put greeting VALUE"), "{}", missing.err);
    let missing = peer.run(&["get", "greeting", "-o", "json"]).with(3).json();
    assert_eq!(missing["values"], Value::Array(Vec::new()));

    let segment = data.join("shard-0/00000001.seg");
    let dump = run(&["inspect", segment.to_str().expect("UTF-8")]).with(0);
    assert!(dump.out.contains("key \"greeting\""), "{}", dump.out);
}

#[test]
fn contexts_replace_what_was_read_and_nothing_else() {
    let dir = directory();
    let peer = Peer::start(dir.path());
    let first = peer.run(&["put", "cart", "tea", "-o", "json"]).with(0).json();
    assert_eq!((&first["outcome"], &first["siblings"]), (&"ok".into(), &1.into()));
    assert_eq!(first["acks"], serde_json::json!({"owners": 1, "fallbacks": 0}));
    let context = first["context"].as_str().expect("a context");
    peer.run(&["put", "cart", "tea, milk", "--context", context]).with(0);
    let second = peer.run(&["put", "cart", "tea, bread", "--context", context]).with(0);
    assert!(second.err.contains("2 conflicting values"), "{}", second.err);

    let refused = peer.run(&["put", "other", "x", "--context", context]).with(7);
    assert!(refused.err.contains("belongs to another key"), "{}", refused.err);
    let malformed = peer.run(&["put", "cart", "x", "--context", "?"]).with(2);
    assert!(malformed.err.contains("not a context"), "{}", malformed.err);

    let conflict = peer.run(&["get", "cart"]).with(4);
    assert!(conflict.out.is_empty());
    for part in ["2 conflicting values", "#1  \"tea, milk\"", "via ann", "siblings resolve cart"] {
        assert!(conflict.err.contains(part), "{part}: {}", conflict.err);
    }
    assert_eq!(peer.run(&["get", "cart", "--all"]).with(0).out, "tea, milk\ntea, bread\n");
    let both = peer.run(&["get", "cart", "-o", "json"]).with(0).json();
    assert_eq!(both["values"].as_array().map(Vec::len), Some(2));

    let listed = peer.run(&["siblings", "list", "-o", "json"]).with(0).json();
    let expected = serde_json::json!([{"bucket": "default", "key": "cart", "siblings": 2}]);
    assert_eq!(listed, expected);
    let elsewhere = peer.run(&["siblings", "list", "-b", "elsewhere", "-o", "json"]).with(0).json();
    assert_eq!(elsewhere, serde_json::json!([]));
    let shown = peer.run(&["siblings", "show", "cart"]).with(0).out;
    assert!(shown.contains("#2  \"tea, bread\""), "{shown}");

    let explained = peer.run(&["explain", "cart"]).with(0).out;
    for part in
        ["2 conflicting values", "├─╮", "Why they conflict", "had not", "cli wrote it via ann"]
    {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let explained = peer.run(&["explain", "cart", "-o", "json"]).with(0).json();
    assert_eq!(explained["conflict"], true);
    assert_eq!(explained["values"][0]["saw"], serde_json::json!([]));
    assert_eq!(explained["values"][1]["held_by"], serde_json::json!(["ann"]));

    let wrong = peer.run(&["siblings", "resolve", "cart", "--pick", "3"]).with(2);
    assert!(wrong.err.contains("cart has 2 values now, and 3 is"), "{}", wrong.err);
    peer.run(&["siblings", "resolve", "cart", "--pick", "2"]).with(0);
    assert_eq!(peer.run(&["get", "cart"]).with(0).out, "tea, bread");
    peer.run(&["put", "cart", "honey", "--blind"]).with(0);
    peer.run(&["siblings", "resolve", "cart", "--value", "all of it"]).with(0);
    assert_eq!(peer.run(&["get", "cart"]).with(0).out, "all of it");
    let nothing = peer.run(&["siblings", "resolve", "cart", "--pick", "1"]).with(0);
    assert!(nothing.err.contains("one value already"), "{}", nothing.err);
    let none = peer.run(&["siblings", "list"]).with(0).out;
    assert_eq!(none, "No key has conflicting values.\n");
}

#[test]
fn the_cluster_is_shown_in_the_promised_shapes() {
    let dir = directory();
    let peer = Peer::start(dir.path());
    let members = peer.run(&["members", "-o", "json"]).with(0).json();
    let ann = &members[0];
    assert_eq!((&ann["name"], &ann["state"]), (&"ann".into(), &"UN".into()));
    assert_eq!((&ann["addr"], &ann["leader"]), (&peer.addr.as_str().into(), &true.into()));
    assert!(ann["id"].as_str().is_some_and(|id| id.len() == 32) && ann["zone"] == "");
    let status = peer.run(&["status", "-o", "json"]).with(0).json();
    assert_eq!((&status["health"], &status["members"]), (&"healthy".into(), &1.into()));
    for field in ["cluster_id", "epoch", "partitions", "moves", "hints_pending", "conflicts"] {
        assert!(status.get(field).is_some(), "{field}");
    }
    let ring = peer.run(&["ring", "-o", "json"]).with(0).json();
    assert_eq!(ring["partitions"].as_array().map(Vec::len), Some(16));
    assert!(peer.run(&["status", "--check"]).with(0).out.contains("HEALTHY"));
    assert!(peer.run(&["members"]).with(0).out.contains("UN  ann *"));
    assert!(peer.run(&["ring"]).with(0).out.contains("100.0 %"));
    assert_eq!(peer.run(&["ring", "--all"]).with(0).out.lines().count(), 17);
    let plan = peer.run(&["plan", "join", "--nodes", "3", "-o", "json"]).with(0).json();
    assert_eq!(plan["members"].as_array().map(Vec::len), Some(4));
    assert_eq!((&plan["members"][0]["slots"], &plan["epoch"]), (&16384.into(), &1.into()));
    let shown = peer.run(&["plan", "join", "--data", "1000000"]).with(0).out;
    assert!(shown.contains("ann → new-1") && shown.contains("nothing was\nchanged"), "{shown}");
    assert!(peer.run(&["plan", "leave", "ann"]).with(7).err.contains("nobody would be left"));

    let bench = ["bench", "--seconds", "0.3", "--connections", "2", "--in-flight", "4"];
    let bench = peer.run(&[&bench[..], &["--keys", "50", "-o", "json"]].concat()).with(0).json();
    assert_eq!(bench["failed"], 0);
    // Eight requests wait all the time, so their waits add up to about eight times the time.
    let waited = |side: &str| {
        let number = |name: &str| bench[side][name].as_f64().expect("a number");
        number("count") * number("mean_us") / 1e6
    };
    let (waited, all) = (waited("reads") + waited("writes"), 8.0 * 0.3);
    assert!(waited > all / 4.0, "{waited} s of {all}: {bench}");
    for side in ["reads", "writes"] {
        assert!(bench[side]["count"].as_u64() > Some(0), "{bench}");
        let quantile = |name: &str| bench[side][name].as_u64().expect("a quantile");
        assert!(quantile("p50_us") <= quantile("p99_us"));
        assert!(quantile("p999_us") <= quantile("max_us"));
    }
}

#[test]
fn the_ring_is_changed_and_what_is_refused_changes_nothing() {
    let dir = directory();
    let peer = Peer::start(dir.path());
    let epoch = || peer.run(&["ring", "-o", "json"]).with(0).json()["epoch"].clone();
    // It leads once it has been there for a second.
    let well = |_| peer.run(&["doctor", "--check"]).with(0).out.contains("Nothing is stuck");
    assert!((0..1000).any(well));
    let plan = peer.run(&["plan", "weight", "ann", "2", "-o", "json"]).with(0).json();
    let basis = plan["basis"].as_str().expect("what it was made from").to_owned();
    let shown = peer.run(&["plan", "weight", "ann", "2"]).with(0).out;
    assert!(shown.contains(&format!("ringdove apply --plan {basis} weight ann 2")), "{shown}");

    let wrong = peer.run(&["apply", "--plan", "nonsense", "weight", "ann", "2"]).with(7);
    assert!(wrong.err.contains("look at the plan again"), "{}", wrong.err);
    for refused in [&["leave", "ann"][..], &["leave", "bob"], &["leave", "--lost", "ann"]] {
        peer.run(&[&["apply"], refused].concat()).with(7);
    }
    peer.run(&["apply", "join"]).with(2);
    peer.run(&["apply", "weight", "ann", "0"]).with(2);
    peer.run(&["force-epoch", "--left", "ann"]).with(2);
    assert_eq!(epoch(), 1);

    let apply = ["apply", "--plan", &basis, "weight", "ann", "2", "-o", "json", "--wait", "10s"];
    let changed = peer.run(&apply).with(0).json();
    assert_eq!((&changed["epoch"], &changed["changed"]), (&2.into(), &true.into()));
    let again = peer.run(&["apply", "weight", "ann", "2"]).with(0).out;
    assert!(again.contains("It is so already"), "{again}");
    for (words, then) in [
        (&["pause"][..], 3),
        (&["resume", "--wait", "10s"], 4),
        (&["apply", "joins", "manual"], 5),
        (&["apply", "zone", "ann", "attic"], 6),
    ] {
        assert!(peer.run(words).with(0).out.contains("Decided"), "{words:?}");
        assert_eq!(epoch(), then, "{words:?}");
    }
    assert!(peer.run(&["abort"]).with(0).out.contains("It is so already"));
    assert_eq!(peer.run(&["members", "-o", "json"]).with(0).json()[0]["zone"], "attic");
    let forced = peer.run(&["force-epoch", "--left", "ann", "--others-are-gone"]).with(0).out;
    assert!(forced.contains("Decided: the ring is at epoch 1000006"), "{forced}");
    assert!(peer.run(&["put", "still", "here"]).with(0).out.starts_with("ok"));
}

#[test]
fn many_lines_go_through_one_connection_and_each_is_counted() {
    let dir = directory();
    let peer = Peer::start(dir.path());
    let mut table: String = (0..2000).map(|n| format!("key {n}\tvalue {n}, née\n")).collect();
    let loaded = peer.fed(&["put", "--lines", "-"], table.as_bytes()).with(0);
    let counts = "2,000 lines: 2,000 written, 0 unknown, 0 failed, in ";
    assert!(loaded.out.starts_with(counts), "{}", loaded.out);
    let keys: String = (0..2000).map(|n| format!("key {n}\n")).collect();
    let read = peer.fed(&["get", "--lines", "-", "-r", "all"], keys.as_bytes()).with(0);
    assert_eq!(read.out, table, "every value, in order");

    table = format!("good\t1\n\nno tab here\n\tno key\n{}\tlong\nlast\t\t2", "k".repeat(5000));
    let file = dir.path().join("lines.tsv");
    std::fs::write(&file, &table).expect("written");
    let file = file.to_str().expect("UTF-8");
    let loaded = peer.run(&["put", "--lines", file]).with(1);
    let counts = "5 lines: 2 written, 0 unknown, 3 failed";
    assert!(loaded.out.starts_with(counts), "{}", loaded.out);
    for part in ["line 3: failed: there is no tab", "line 4: failed: the key is empty", "line 5: "]
    {
        assert!(loaded.err.contains(part), "{part}: {}", loaded.err);
    }
    assert_eq!(peer.run(&["get", "last"]).with(0).out, "\t2");
    let loaded = peer.run(&["put", "--lines", file, "-o", "json"]).with(1).json();
    assert_eq!((&loaded["written"], &loaded["failed"]), (&2.into(), &3.into()));
    assert_eq!(loaded["problems"][0]["line"], 3);

    let read = peer.fed(&["get", "--lines", "-"], b"last\nabsent\ngood").with(3);
    assert_eq!(read.out, "last\t\t2\ngood\t1\n");
    assert!(read.err.contains("line 2: not found: absent"), "{}", read.err);
    let missing = peer.run(&["put", "--lines", "/no/such/file"]).with(1);
    assert!(missing.err.contains("nothing was sent"), "{}", missing.err);
}

#[test]
fn errors_say_what_happened_what_is_left_and_what_to_do() {
    let dir = directory();
    let peer = Peer::start(dir.path());
    let parts = |ended: &Ended| {
        for part in ["error: ", "state: ", "next:  "] {
            assert!(ended.err.contains(part), "{part}: {}", ended.err);
        }
    };
    let long = "k".repeat(4097);
    let usage: [&[&str]; 4] = [
        &["get", &long],
        &["get", ""],
        &["get", "k", "-b", "no/bucket"],
        &["put", "k", "v", "-b", &long],
    ];
    for args in usage {
        let ended = peer.run(args).with(2);
        parts(&ended);
        assert!(ended.err.contains("nothing was sent"), "{}", ended.err);
    }
    let usage: [&[&str]; 5] = [
        &["put", "k", "v", "--context", ""],
        &["put", "k", "v", "--context", "no context!"],
        &["get", "k", "-r", "0"],
        &["delete", "k", "-w", "none"],
        &["siblings", "list", "-b", "no bucket"],
    ];
    usage.iter().for_each(|args| drop(peer.run(args).with(2)));
    let ended = run(&["get", "k", "--endpoint", ""]).with(2);
    assert!(ended.err.contains("an endpoint is empty"), "{}", ended.err);
    let mut command = ringdove(&["siblings", "resolve", "k"]);
    command.env("RINGDOVE_ENDPOINT", &peer.addr);
    let ended = Ended::of(command.output().expect("it runs")).with(2);
    assert!(!ended.err.contains("--endpoint"), "only what is missing is shown: {}", ended.err);
    for path in ["/", "/no/such/file"] {
        let ended = peer.run(&["put", "--lines", path]).with(1);
        assert!(ended.out.is_empty(), "there is nothing to count: {}", ended.out);
        parts(&ended);
    }
    let large = vec![b'x'; (8 << 20) + 1];
    let ended = peer.fed(&["put", "k", "-"], &large).with(2);
    assert!(ended.err.contains("8 MiB"), "{}", ended.err);
    peer.fed(&["put", "k", "-"], &large[1..]).with(0);
    assert_eq!(peer.run(&["get", "k"]).with(0).out.len(), 8 << 20);
    peer.run(&["get", "k", "-r", "most"]).with(2);

    let ended = peer.run(&["put", "k", "v", "-w", "2"]).with(5);
    parts(&ended);
    let ended = peer.run(&["put", "k", "v", "-w", "2", "-o", "json"]).with(5);
    let error = ended.error();
    assert_eq!((&error["code"], &error["exit"]), (&"level_not_met".into(), &5.into()));
    assert!(error["state"].as_str().is_some_and(|state| !state.is_empty()));

    // A port that was free a moment ago, and that nobody listens on.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = gone.local_addr().expect("an address").to_string();
    drop(gone);
    let ended = run(&["get", "k", "--endpoint", &addr]).with(6);
    parts(&ended);
    assert!(ended.err.contains("ringdove start"), "{}", ended.err);
    let several = format!("{addr},{}", peer.addr);
    run(&["members", "--endpoint", &several]).with(0);

    let mut command = ringdove(&["get", "absent"]);
    command.env("RINGDOVE_ENDPOINT", &peer.addr).env("RINGDOVE_OUTPUT", "json");
    let ended = Ended::of(command.output().expect("it runs")).with(3);
    assert_eq!(ended.json()["key"], "absent");
    let ended = run(&["get", "-o", "json"]).with(2);
    assert_eq!(ended.error()["code"], "usage");

    let data = dir.path().to_str().expect("UTF-8");
    let ended = run(&["start", "--listen", "127.0.0.1:0", "--data", data]).with(1);
    parts(&ended);
    let ended = run(&["start", "--listen", "nowhere", "--data", "/proc/none"]).with(2);
    assert!(ended.err.contains("cannot listen on \"nowhere\""), "{}", ended.err);
    let other = directory();
    let data = other.path().to_str().expect("UTF-8");
    let ended = run(&["start", "--listen", &peer.addr, "--data", data]).with(1);
    assert!(ended.err.contains("cannot listen on"), "{}", ended.err);
}

#[test]
fn a_node_starts_from_a_file_and_flags_go_before_it() {
    let dir = directory();
    let file = dir.path().join("ringdove.toml");
    let settings = |text: &str| std::fs::write(&file, text).expect("written");
    let path = file.to_str().expect("UTF-8");
    let data = dir.path().join("data");
    settings(&format!(
        "# where, and who\nlisten = \"127.0.0.1:0\"\ndata = {data:?}\nname = \"ann\"\n\
         zone = \"cellar\"\nsync = \"interval\"\n[limits]\nrequest-bytes = 5_000\n"
    ));
    let peer = Peer::serving(&["start", "--config", path, "--zone", "attic"]);
    let ann = &peer.run(&["members", "-o", "json"]).with(0).json()[0];
    assert_eq!((&ann["name"], &ann["zone"]), (&"ann".into(), &"attic".into()));
    peer.run(&["put", "small", "fits"]).with(0);
    let refused = peer.run(&["put", "large", &"x".repeat(6_000)]).with(1);
    assert!(refused.err.contains("the request had no effect"), "{}", refused.err);
    assert_eq!(peer.stop(), 0);

    // On all addresses it listens, so it has to be told at which of them others reach it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let (everywhere, here) = (format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}"));
    let start = ["start", "--config", path, "--listen", &everywhere];
    let ended = run(&[&start[..], &["--seeds", &here]].concat()).with(2);
    assert!(ended.err.contains("--advertise HOST:PORT"), "{}", ended.err);
    let peer = Peer::serving(&[&start[..], &["--advertise", &here]].concat());
    let ann = &run(&["members", "-o", "json", "--endpoint", &here]).with(0).json()[0];
    assert_eq!(ann["addr"], here.as_str());
    assert_eq!(peer.stop(), 0);

    // The environment goes before the file, too.
    let mut command = ringdove(&["start", "--config", path]);
    command.env("RINGDOVE_COPIES", "9");
    let ended = Ended::of(command.output().expect("it runs")).with(2);
    assert!(ended.err.contains("a number from 1 to 7"), "{}", ended.err);

    settings("listen = \"127.0.0.1:0\"\nlisen = \"127.0.0.1:0\"\n");
    let ended = run(&["start", "--config", path]).with(2);
    for part in
        ["ringdove.toml, line 2: unknown field `lisen`", "  lisen = ", "state: the node did"]
    {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    let ended = run(&["start", "--config", "/no/such/file"]).with(1);
    assert!(ended.err.contains("/no/such/file: No such file"), "{}", ended.err);
}

#[test]
fn a_node_that_waits_says_for_whom() {
    let dir = directory();
    let free: Vec<_> =
        (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let addrs: Vec<String> =
        free.iter().map(|port| port.local_addr().expect("bound").to_string()).collect();
    drop(free);
    let (seeds, missing) = (addrs.join(","), format!("waiting for {} (no answer yet)", addrs[1]));
    let data = dir.path().to_str().expect("UTF-8");
    let start =
        ["start", "--listen", &addrs[0], "--data", data, "--seeds", &seeds, "--name", "ann"];
    let peer = Peer::listening(&start);
    assert_eq!(peer.says("waiting for "), missing);
    let status = peer.run(&["status", "--wait", "10ms"]).with(8).out;
    let said = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.starts_with("UNAVAILABLE: this node is in no cluster yet"), "{status}");
    assert!(said.contains(&missing), "{status}");
    assert!(peer.run(&["members"]).with(0).out.contains("UJ  ann "));
    for args in [&["put", "k", "v"][..], &["get", "k"], &["siblings", "list"], &["explain", "k"]] {
        let ended = peer.run(&[args, &["--timeout", "2s"]].concat()).with(6);
        assert!(ended.err.contains("the request had no effect"), "{}", ended.err);
    }
    run(&["status", "--wait", "10ms", "--endpoint", &addrs[1]]).with(6);
    drop(peer);

    let other = directory();
    let peer = Peer::start(other.path());
    peer.run(&["status", "--wait", "1m"]).with(0);
    // Every endpoint that is named has to say so.
    let both = format!("{},{}", peer.addr, addrs[1]);
    run(&["status", "--wait", "10ms", "--endpoint", &both]).with(6);
    run(&["status", "--endpoint", &both]).with(0);
}

#[test]
fn help_teaches_by_example() {
    let top = run(&["--help"]).with(0).out;
    assert!(top.contains("ringdove demo --tour") && top.contains("Exit codes:"));
    let commands = [
        "demo", "start", "get", "put", "delete", "siblings", "explain", "status", "members",
        "ring", "plan", "bench", "inspect",
    ];
    for command in commands {
        assert!(top.contains(&format!("\n  {command} ")), "{command} is not listed");
        let help = run(&[command, "--help"]).with(0).out;
        assert!(help.contains("Examples:\n  ringdove "), "{command}: {help}");
    }
    run(&[]).with(2);
    assert!(run(&["--version"]).with(0).out.starts_with("ringdove "));
}

#[test]
fn the_demo_makes_a_conflict_and_explains_it() {
    // Three of four own the cart: some do on either side.
    let script = "\
# a cart on both sides of a split
put cart tea -w all
split a,b | c,d
members @c
put cart 'tea, milk' -w one
put cart 'tea, bread' -w one @d
get cart -r one
get cart -r one --on d
heal
get cart
explain cart
siblings resolve cart --value 'tea, milk, bread'
get cart -r all @d
kill b
status --check
get cart @b
restart b
status --check @b
split a | z
heal me
nonsense
nodes
get cart -o json
quit
get cart
";
    let ended = fed(&["demo", "--nodes", "4"], script.as_bytes()).with(0);
    let expected = [
        "a> put cart tea -w all\nok written: on the disk of 3 owners (3 asked for)\n",
        "cut: a and b | c and d.",
        "DN  a ",
        "UN  d ",
        "a> get cart -r one\ntea, milk\n",
        "a> get cart -r one --on d\ntea, bread\n",
        "healed: ",
        "error: cart has 2 conflicting values\n",
        "[conflict, exit code 4]",
        "├─╮",
        "Why they conflict",
        "a> get cart -r all @d\ntea, milk, bread\n",
        "b is gone; the others have noticed.",
        "DEGRADED",
        "[degraded, exit code 8]",
        "error: b is killed, and commands go there",
        "next:  restart b\n       use a\n[unreachable, exit code 6]",
        "b is back",
        "HEALTHY",
        "there is no node \"z\"",
        "heal stands alone",
        "unrecognized subcommand 'nonsense'",
        "the network is whole",
        "{\"bucket\":\"default\",\"key\":\"cart\"",
        "a> quit\n",
    ];
    let mut rest = ended.out.as_str();
    for part in expected {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in what follows\n{rest}"));
        rest = &rest[at + part.len()..];
    }
    assert_eq!(rest, "", "nothing is done after quit");
    let place =
        ended.out.lines().find_map(|line| line.split_once("with data in ")).expect("told").1;
    assert!(!Path::new(place).exists(), "{place} is left behind");

    fed(&["demo", "--nodes", "1", "--strict"], b"put k v\nget k\n").with(0);
    fed(&["demo", "--nodes", "1", "--strict"], b"get absent\n").with(1);
}

#[test]
fn the_tour_does_what_it_tells() {
    let ended = run(&["demo", "--tour"]).with(0);
    for part in ["tea, milk, bread", "Why they conflict", "That was it"] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    let small = run(&["demo", "--tour", "--nodes", "3"]).with(2);
    assert!(small.err.contains("five nodes"), "{}", small.err);
}
