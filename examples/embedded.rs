//! A node inside your own program: no server to install, and others can join it over the network.
//!
//! `cargo run --example embedded`

use std::error::Error;
use std::net::SocketAddr;

use ringdove::client::{Client, ClientOptions};
use ringdove::key::{DEFAULT_BUCKET, Key};
use ringdove::rt;
use ringdove::server::{Node, NodeConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    // Without seeds a node is a cluster of its own. Port 0 takes any that is free.
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    // The page belongs into memory; here it goes with the directory.
    let pages = Some(data.path().to_owned());
    let config = NodeConfig { listen: any_port, pages, ..NodeConfig::new(data.path().join("n")) };
    let node = Node::start(config)?;

    rt::block_on(async {
        let client = Client::connect(&[node.addr().to_string()], ClientOptions::default()).await?;
        let greeting = Key::new(DEFAULT_BUCKET, b"greeting")?;
        client.put(&greeting, "hello from inside").await?;
        let got = client.get(&greeting).await?;
        println!("{}", String::from_utf8_lossy(got.bytes().ok_or("one value was written")?));
        Ok::<_, Box<dyn Error>>(())
    })?;

    node.stop();
    Ok(())
}
