//! A shopping cart that two tills change at once, on two sides of a broken network.
//!
//! Three nodes in one process, with real sockets and disks. The link between them is cut, both sides
//! go on selling, the link is mended, and the cart shows both changes instead of losing one. The
//! program merges them as a cart should be merged, and says which changes its merge had seen.
//!
//! A node that has just been reached again is dialled anew, and a request at level `all` that comes
//! too early is refused. So the tills do what any client should: ask again as long as the error says
//! that it does no harm, and a write under the name of its first attempt.
//!
//! `cargo run --example cart`

use std::collections::BTreeSet;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use ringdove::client::{Client, ClientError, ClientOptions, GetRequest, Got, PutDone, PutRequest};
use ringdove::key::Key;
use ringdove::rt;
use ringdove::server::{Links, Node, NodeConfig};
use ringdove::wire::Level;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let data = tempfile::tempdir()?;
    let links = Links::new();
    let nodes = start_three(data.path(), &links)?;
    let addrs: Vec<SocketAddr> = nodes.iter().map(Node::addr).collect();
    rt::block_on(sell(&addrs, &links))?;
    nodes.into_iter().for_each(Node::stop);
    Ok(())
}

/// Nodes that are given one seed list found a cluster together.
fn start_three(data: &Path, links: &Links) -> Result<Vec<Node>> {
    let addrs = free_addresses()?;
    let seeds: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
    let mut nodes = Vec::new();
    for (name, listen) in ["north", "south", "west"].into_iter().zip(addrs) {
        nodes.push(Node::start(NodeConfig {
            listen,
            seeds: seeds.clone(),
            name: Some(name.to_owned()),
            links: links.clone(),
            pages: Some(data.to_owned()),
            ..NodeConfig::new(data.join(name))
        })?);
    }
    Ok(nodes)
}

async fn sell(addrs: &[SocketAddr], links: &Links) -> Result<()> {
    let cart = Key::new("carts", b"ann")?;
    let till_1 = till("till 1", addrs[0]).await?;
    let till_2 = till("till 2", addrs[2]).await?;

    // Everybody has the cart before anything breaks.
    written(till_1.put(&cart, "book").blind().level(Level::All)).await?;
    let before_1 = read(till_1.get(&cart)).await?;
    let before_2 = read(till_2.get(&cart)).await?;
    println!("both tills see: {}", contents(&before_1));

    // West is alone now. Level one is met on either side.
    links.split(&[&addrs[..2], &addrs[2..]]);
    println!("the network breaks");
    written(till_1.put(&cart, "book, pen").context(before_1.context).level(Level::One)).await?;
    written(till_2.put(&cart, "book, lamp").context(before_2.context).level(Level::One)).await?;
    println!("till 1 adds a pen, till 2 adds a lamp");

    links.heal();
    println!("the network heals");
    let conflict = read(till_1.get(&cart).level(Level::All)).await?;
    for (dot, value) in &conflict.values {
        let (text, writer) = (String::from_utf8_lossy(&value.bytes), &value.meta.writer);
        println!("  {dot}  {text:12}  written by {writer}");
    }

    // A cart is a set: what anybody put in is in it. The context says that this merge saw both.
    let merged = union(&conflict);
    written(till_1.put(&cart, merged).context(conflict.context).level(Level::All)).await?;
    println!("resolved: {}", contents(&read(till_2.get(&cart).level(Level::All)).await?));
    Ok(())
}

/// Reads, again and again while the level cannot be met yet.
async fn read(request: GetRequest<'_>) -> Result<Got> {
    patiently(async |_| request.clone().await).await
}

/// Writes. Every attempt carries the operation id of the first, so that none shows twice, and later ones
/// say that they are: then what an earlier one wrote is looked for.
async fn written(request: PutRequest<'_>) -> Result<PutDone> {
    patiently(async |first| match first {
        true => request.clone().await,
        false => request.clone().again().await,
    })
    .await
}

/// Asks again after errors of which the client says that this does no harm, for at most half a minute.
async fn patiently<T>(
    mut ask: impl AsyncFnMut(bool) -> std::result::Result<T, ClientError>,
) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut first = true;
    loop {
        let asked = ask(std::mem::take(&mut first)).await;
        match asked {
            Err(error) if error.retryable() && Instant::now() < end => {
                rt::sleep(Duration::from_millis(100)).await;
            }
            ended => return Ok(ended?),
        }
    }
}

async fn till(name: &str, addr: SocketAddr) -> Result<Client> {
    let options = ClientOptions { name: name.to_owned(), ..ClientOptions::default() };
    Ok(Client::connect(&[addr.to_string()], options).await?)
}

fn union(conflict: &Got) -> String {
    let texts: Vec<_> =
        conflict.values.iter().map(|(_, value)| String::from_utf8_lossy(&value.bytes)).collect();
    let items: BTreeSet<&str> = texts.iter().flat_map(|text| text.split(", ")).collect();
    items.into_iter().collect::<Vec<_>>().join(", ")
}

fn contents(got: &Got) -> String {
    got.bytes().map_or("nothing, or several values".into(), |b| String::from_utf8_lossy(b).into())
}

fn free_addresses() -> Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?)
}
