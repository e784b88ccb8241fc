//! `start`: runs a node, and says in sentences what it is doing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::args::{Common, Format, StartArgs};
use super::exit::Exit;
use super::link::{connect, with_port};
use super::screen::Screen;
use super::settings::Settings;
use super::show::json_line;
use super::trouble::Trouble;
use super::words::{count, list};
use crate::rt;
use crate::server::{Links, Node, NodeConfig, StartError, SyncMode};
use crate::storage::StoreError;
use crate::wire::{Answer, Question};

/// How often the node is asked whom it waits for.
const ASK: Duration = Duration::from_millis(200);

/// Runs a node until the process is asked to stop. Blocks.
pub(crate) fn start(
    common: &Common,
    args: &StartArgs,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let settings = Settings::of(args)?;
    let new = is_empty(&settings.data);
    let node = Node::start(config_of(&settings)?).map_err(|error| refused(&error, &settings))?;
    let addr = node.addr();
    let data = settings.data.display();
    tell(
        screen,
        "node",
        addr,
        &format!("ringdove {} as {}", env!("CARGO_PKG_VERSION"), node.name()),
    );
    if let Some(file) = &args.config {
        tell(screen, "config", addr, &format!("settings from {}", file.display()));
    }
    let listening = match &settings.advertise {
        None => format!("listening on {addr}, for clients and peers"),
        Some(_) => {
            format!("listening on {}, reached by clients and peers at {addr}", settings.listen)
        }
    };
    tell(screen, "listening", addr, &listening);
    let whose = if new { "a new directory" } else { "what it holds is served" };
    tell(
        screen,
        "data",
        addr,
        &format!("data in {data} ({whose}), synced {}", synced(settings.sync)),
    );
    if settings.seeds.is_empty() {
        let sentence = "no seeds were given: a new directory founds a cluster of its own";
        tell(screen, "seeds", addr, sentence);
    } else {
        tell(screen, "seeds", addr, &format!("seeds are {}", list(&settings.seeds)));
    }
    screen.flush();
    let watch = rt::spawn(watch(common.clone(), addr, screen.format));
    let ended = node.run_until_signal();
    rt::block_on(watch.cancel());
    match ended {
        Ok(()) => {
            tell(screen, "stopped", addr, "stopped; everything acknowledged is on the disk");
            Ok(Exit::Ok)
        }
        Err(error) => Err(Trouble::new(
            Exit::Error,
            format!("the node stopped: {error}"),
            "everything acknowledged is on the disk",
            "look at the log above (RINGDOVE_LOG=info shows more), then start the node again",
        )),
    }
}

fn config_of(settings: &Settings) -> Result<NodeConfig, Trouble> {
    if settings.seeds.iter().any(|seed| seed.trim().is_empty()) {
        return Err(Trouble::usage(
            "one of the seeds is empty",
            "give each as HOST:PORT, with commas between them; without any, the node is a cluster of its own",
        ));
    }
    let advertise = settings.advertise.as_deref().map(|text| address("advertise", text));
    Ok(NodeConfig {
        listen: address("listen on", &settings.listen)?,
        advertise: advertise.transpose()?,
        seeds: settings.seeds.iter().map(|seed| with_port(seed)).collect(),
        name: settings.name.clone(),
        zone: settings.zone.clone(),
        copies: settings.copies,
        shards: settings.shards,
        sync: settings.sync,
        limits: settings.limits,
        pages: settings.pages.clone(),
        restored: settings.restored,
        keep_id: settings.keep_id,
        salvage: settings.salvage,
        links: Links::new(),
        ..NodeConfig::new(&settings.data)
    })
}

/// The first address behind `host:port`, to do this with.
fn address(to: &str, text: &str) -> Result<SocketAddr, Trouble> {
    let wrong = |why: String| {
        Trouble::usage(
            format!("cannot {to} {text:?}: {why}"),
            "give HOST:PORT, like 127.0.0.1:7400; port 0 lets the system choose",
        )
    };
    let found =
        rt::block_on(rt::resolve(&with_port(text))).map_err(|error| wrong(error.to_string()))?;
    found.first().copied().ok_or_else(|| wrong("there is no such host".to_owned()))
}

fn is_empty(data: &Path) -> bool {
    std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none())
}

fn synced(sync: SyncMode) -> String {
    match sync {
        SyncMode::Always => "before each write is acknowledged".to_owned(),
        SyncMode::Interval(pace) => format!("every {} ms", pace.as_millis()),
        SyncMode::Os => "when the system likes".to_owned(),
    }
}

fn refused(error: &StartError, settings: &Settings) -> Trouble {
    let (exit, next) = match error {
        StartError::Config(_) | StartError::Shards { .. } => {
            (Exit::Usage, "correct the setting and start again".to_owned())
        }
        StartError::Listen { .. } => (
            Exit::Error,
            "choose another address with --listen; 127.0.0.1:0 takes any free port".to_owned(),
        ),
        StartError::Directory(_) | StartError::Notes { .. } => (
            Exit::Error,
            format!("check {}, or choose another directory with --data", settings.data.display()),
        ),
        StartError::CopyInUse { .. } => {
            (Exit::Error, "stop the other process, or start with an empty directory".to_owned())
        }
        StartError::Page { .. } => {
            (Exit::Error, "name another directory with --pages, or leave it out".to_owned())
        }
        StartError::Store { shard, why: StoreError::Damaged { file, .. } } => {
            let dir = settings.data.join(format!("shard-{shard}"));
            let next = format!(
                "start with --salvage: what is whole in {dir} goes into a new log, the damaged one is kept \
                 beside it, and the node gets the rest from its peers; `ringdove inspect {}` prints what can \
                 be read",
                dir.join(file).display(),
                dir = dir.display(),
            );
            (Exit::Error, next)
        }
        StartError::Control(_) | StartError::Store { .. } => (
            Exit::Error,
            "put the directory back from a copy, or start with an empty one: a node that comes \
             back empty gets its data from its peers"
                .to_owned(),
        ),
        StartError::Random(_) | StartError::System(_) => {
            (Exit::Error, "check the limits that the system sets for this process".to_owned())
        }
    };
    Trouble::new(exit, error.to_string(), "the node did not start; its data are as they were", next)
}

/// Says whom the node waits for, and when it serves.
async fn watch(mut common: Common, addr: SocketAddr, format: Format) {
    common.endpoint = vec![addr.to_string()];
    let mut said = String::new();
    loop {
        if let Ok(client) = connect(&common).await {
            while let Ok(Answer::Status(status)) = client.ask(Question::Status).await {
                let mut screen = Screen::standard(format);
                if !status.cluster_id.is_empty() && status.waiting.is_empty() {
                    let sentence = format!(
                        "serving cluster {}, {}; try: ringdove --endpoint {addr} status",
                        status.cluster_id,
                        count(status.members.into(), "member", "members"),
                    );
                    return tell(&mut screen, "serving", addr, &sentence);
                }
                if said != status.waiting {
                    said.clone_from(&status.waiting);
                    tell(&mut screen, "waiting", addr, &said);
                }
                rt::sleep(ASK).await;
            }
        }
        rt::sleep(ASK).await;
    }
}

fn tell(screen: &mut Screen, event: &str, addr: SocketAddr, sentence: &str) {
    #[derive(Serialize)]
    struct Told<'a> {
        event: &'a str,
        addr: String,
        sentence: &'a str,
    }
    match screen.format {
        Format::Table => screen.print(format!("{sentence}\n")),
        Format::Json => screen.print(json_line(&Told { event, addr: addr.to_string(), sentence })),
    }
    screen.flush();
}
