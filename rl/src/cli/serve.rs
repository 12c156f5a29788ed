//! `sapo serve`: answers OpenAI's chat completions with any model until it is told to stop.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread;

use crate::device;
use crate::error::{Result, RunError};
use crate::serve::{Listening, ServeOptions, Stop, name_of, serve};
use clap::Args;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::mpsc;

use super::printer::print_json;
use super::weights::Dtype;

/// What to serve, where and how.
#[derive(Args)]
pub(crate) struct ServeArguments {
    /// A preset, a checkpoint of a run, or a folder in the Hugging Face layout.
    #[arg(long)]
    pub(crate) model: String,
    /// The address to listen on; 0.0.0.0 for all. Whoever reaches it may ask: there are no keys.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port; 0 takes any free one.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// The model's name in requests; by default the last part of its path.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Requests that are answered together at most; with 1, a reply never depends on what else is asked.
    #[arg(long, default_value_t = 8)]
    pub(crate) batch: usize,
    /// Tokens of an answer at most, and when a request does not say.
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_new_tokens: usize,
    /// Tokens of a prompt at most, pictures included; memory grows with its square.
    #[arg(long, default_value_t = 4096)]
    pub(crate) max_prompt_tokens: usize,
    /// Stops at once when stdin closes, as it does when the process that holds it ends.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The format that weights are kept in; bf16 needs half the memory of f32, and computes in f32 as well.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, or `cuda:0` in a build with the feature `cuda`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints url, model and pid as one JSON object instead of the URL alone.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: ServeArguments) -> Result<()> {
    let options = ServeOptions {
        name: arguments.name.unwrap_or_else(|| name_of(&arguments.model)),
        model: arguments.model,
        format: arguments.dtype.format(),
        host: arguments.host,
        port: arguments.port,
        batch: arguments.batch,
        max_new_tokens: arguments.max_new_tokens,
        max_prompt_tokens: arguments.max_prompt_tokens,
    };
    let device = device::open(&arguments.device)?;
    let (stop, stops) = mpsc::unbounded_channel();
    stop_on_signals(stop.clone())?;
    if arguments.until_stdin_closes {
        stop_with_stdin(stop);
    }
    let mut printed = Ok(());
    serve(&options, &device, stops, &mut |listening| printed = say(listening, arguments.json))?;
    printed
}

/// The address on stdout, and how to ask on stderr.
fn say(listening: &Listening, as_json: bool) -> Result<()> {
    let Listening { url, model, .. } = listening;
    let body = json!({"model": model, "messages": [{"role": "user", "content": "What is 2 + 3?"}]});
    eprintln!("`{model}` listens on {url}; ask it: curl {url}/v1/chat/completions -d '{body}'");
    if as_json {
        return print_json(listening, true);
    }
    println!("{url}");
    Ok(())
}

/// Ctrl-C, or being told to end, stops gently; a second time, at once.
fn stop_on_signals(stop: mpsc::UnboundedSender<Stop>) -> Result<()> {
    let fault = |error: std::io::Error| RunError::Internal(format!("signals cannot be received: {error}"));
    let (mut received, raised) = UnixStream::pair().map_err(fault)?;
    signal_hook::low_level::pipe::register(SIGINT, raised.try_clone().map_err(fault)?).map_err(fault)?;
    signal_hook::low_level::pipe::register(SIGTERM, raised).map_err(fault)?;
    thread::spawn(move || {
        let mut byte = [0];
        while received.read_exact(&mut byte).is_ok() && stop.send(Stop::Gently).is_ok() {
            eprintln!("stopping after the requests in flight; once more stops at once");
        }
    });
    Ok(())
}

fn stop_with_stdin(stop: mpsc::UnboundedSender<Stop>) {
    thread::spawn(move || {
        // An unreadable stdin is as good as a closed one; what is written to it is nobody's business.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        // An error means that the server has stopped already.
        _ = stop.send(Stop::Now);
    });
}
