//! Serves memmon's web page with a made-up agent behind it. Says where on standard output, and takes orders, one a
//! line, on standard input: `calm`, `storm`, `silent`; ends with it.

use std::{
    io::BufRead as _,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use memmon::{
    config::Listen,
    export::{
        http::{self, Feed, Hosts},
        metrics::Facts,
        web::{self, Archive, Assets, Guard, Live, Token, Web},
    },
};
use memmon_tests::web::{
    history,
    play::{Play, Scene},
};

#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9757")]
    listen: String,
    /// The page's files, as `cargo xtask build` makes them; without it those that are built in.
    #[arg(long)]
    dist: Option<PathBuf>,
    /// Ask for the token in this file.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Where made-up history is written to and read from; none if not given.
    #[arg(long)]
    history: Option<PathBuf>,
    /// What the host goes through at first.
    #[arg(long, default_value = "calm")]
    scene: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let listen: Listen = args.listen.parse().map_err(anyhow::Error::msg)?;
    let assets = match &args.dist {
        Some(dir) => Assets::read(dir).with_context(|| format!("reading the page in {}", dir.display()))?,
        None => Assets::embedded(),
    };
    let guard = match &args.token_file {
        Some(file) => Guard::Token(Token::read(file)?),
        None => Guard::Local,
    };
    if let Some(database) = args.history.as_ref().filter(|file| !file.exists()) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        history::fill(database, i64::try_from(now)?)?;
    }
    let database = args.history.unwrap_or_else(|| PathBuf::from("/dev/null/none"));
    let play = Play::begin();
    play.set(scene(&args.scene)?);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(&listen, assets, guard, Archive::start(database)?, play))
}

async fn serve(listen: &Listen, assets: Assets, guard: Guard, archive: Archive, play: Play) -> Result<()> {
    let sockets = http::open(listen)?;
    let feed = Feed::new(Box::new(|| Box::pin(async { Some(Facts::default()) })));
    let shown = play.clone();
    let live = Live::new(Box::new(move || {
        let report = shown.report().map(Arc::new);
        Box::pin(async move { report })
    }));
    let router = http::routes(feed).merge(web::routes(Web {
        assets,
        live: live.clone(),
        archive,
        guard,
    }));
    println!("http://{listen}/");
    tokio::spawn(live.clone().run());
    tokio::spawn(http::serve(sockets, router, Hosts::default(), web::limits()));
    let (orders, mut to_obey) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if orders.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(order) = to_obey.recv().await {
        play.set(scene(order.trim())?);
        live.nudge();
    }
    Ok(())
}

fn scene(word: &str) -> Result<Scene> {
    Ok(match word {
        "calm" => Scene::Calm,
        "storm" => Scene::Storm,
        "silent" => Scene::Silent,
        other => bail!("{other:?} is no order: write calm, storm or silent"),
    })
}
