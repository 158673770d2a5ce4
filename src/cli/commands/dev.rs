//! `millstream dev`: everything in one process, no Kafka needed: embedded broker and registry, then exactly what `run` does.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Command;

use super::{CommandSpec, Logs};
use crate::cli::dev::{Feed, LiveList, Local, create_topics};
use crate::cli::running::{self, Opened, Running};
use crate::cli::settings::Settings;
use crate::cli::{Failure, Invocation, Outcome, logging, output, signals, sql_files};
use crate::http;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "dev",
    about: "Runs everything here: embedded broker and registry, the topologies, a live sample",
    examples: "\
Examples:
  millstream dev
  millstream dev --no-sample --topologies my-sql --data-dir /tmp/mine
  millstream dev --http 127.0.0.1:0 --kafka 127.0.0.1:0 --registry 127.0.0.1:0 --print-urls json

Topics and state are kept in --data-dir; the next start goes on where it was. Ctrl-C stops it.",
    arguments: |command: Command| command,
    logs: Logs::Own,
    run,
};

/// Longest wait for all tasks before the addresses are printed: a restore may take its time, and shows its progress over HTTP.
const TASKS_LIMIT: Duration = Duration::from_secs(10);

fn run(invocation: &Invocation<'_>) -> Outcome {
    let settings = &invocation.settings;
    let live =
        std::io::stdout().is_terminal() && !settings.flag("quiet") && settings.optional_text("print-urls").is_none();
    running::block_on(serve(settings, live))
}

async fn serve(settings: &Settings, live: bool) -> Outcome {
    let stop = signals::listen().map_err(Failure::failed)?;
    let files = sql_files::read(&settings.path("topologies"), &[])?;
    let instance = running::lock(settings)?;
    let data_dir = settings.path("data-dir");
    // Log lines would tear the live list apart.
    let log_path = data_dir.join("millstream.log");
    let log_file = match live {
        true => Some(
            std::fs::File::create(&log_path)
                .map_err(|error| Failure::failed(format!("{}: {error}", log_path.display())))?,
        ),
        false => None,
    };
    logging::start(settings, log_file)?;
    let local = Local::start(settings, &data_dir).await?;
    tracing::debug!("broker and registry are up");
    let listener = http::bind(settings.text("http")).await.map_err(Failure::Failed)?;
    let opened = Opened::new(settings, instance, local.ground.clone(), listener)?;
    let waits = |reason: &str| opened.waits_for(reason);
    let Some(topologies) = running::compile(files, &local.ground.schemas, &waits, &stop).await? else {
        return Ok(());
    };
    tracing::debug!("SQL is compiled");
    if !settings.flag("no-sample") {
        let (log, topologies) = (local.ground.log.clone(), topologies.clone());
        let create = move || create_topics(&*log, &topologies);
        tokio::task::spawn_blocking(create).await.map_err(Failure::failed)??;
    }
    tracing::debug!("topics of the sample are there");
    if let Some(running) = opened.start(topologies, &stop).await? {
        running.all_running(TASKS_LIMIT, &stop).await;
        let feed = match settings.flag("no-sample") {
            true => None,
            false => Some(Feed::start(&running.url(), &data_dir)?),
        };
        let list = match live {
            true => Some(LiveList::start(&running.url(), running.published(), footer(&running))?),
            false => {
                running::announce(settings, &running);
                None
            }
        };
        signals::stopped(&stop).await;
        drop((feed, list));
        if live {
            output::note("\nstopping; the next start goes on from here");
        }
        running.stop().await;
    }
    local.stop().await;
    Ok(())
}

/// What stands below the live list.
fn footer(running: &Running) -> Vec<String> {
    let (url, program) = (
        running.url(),
        std::env::args().next().unwrap_or_else(|| "millstream".to_owned()),
    );
    let mut lines = vec![String::new()];
    lines.extend(running.urls_text());
    lines.push(format!("try       curl '{url}/v1/views/RATED_MOVIES/rows?limit=3'"));
    lines.push(format!(
        "          {program} query --url {url} 'SELECT * FROM orders_by_state'"
    ));
    lines.push(format!("          {url}/ in a browser"));
    lines.push("stop      Ctrl-C".to_owned());
    lines
}
