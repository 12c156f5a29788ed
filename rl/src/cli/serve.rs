//! `sapo serve`: answers OpenAI's chat completions and completions with any model until it is told to stop.

use std::path::PathBuf;
use std::thread;

use crate::device;
use crate::error::Result;
use crate::serve::{Listening, ServeOptions, Stop, name_of, serve};
use clap::Args;
use sapo_rollouts::LocalEngine;
use serde_json::json;
use tokio::sync::mpsc;

use super::printer::{Printer, print_json};
use super::signals::on_signals;
use super::weights::Dtype;

/// The environment variable that holds the key that clients must have.
const KEY_VARIABLE: &str = "SAPO_API_KEY";

/// What to serve, where and how.
#[derive(Args)]
pub(crate) struct ServeArguments {
    /// A preset, a run (its newest checkpoint) or a checkpoint of one, a folder in the Hugging Face layout, or a hub id in the
    /// local cache.
    #[arg(long)]
    pub(crate) model: String,
    /// The address to listen on; 0.0.0.0 for all. Beyond loopback a key is wanted of everybody who asks.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port; 0 takes any free one.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// The model's name in requests; by default the last part of its path.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The key that clients must send as `Authorization: Bearer KEY`. The environment variable SAPO_API_KEY says the same and
    /// is not seen by other users of the machine. Without one, any is taken, on loopback alone.
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Lets requests name pictures in this folder, as `file:///...`; nothing outside it is shown.
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_local_images: Option<PathBuf>,
    /// Answers that are decoded together at most; the others wait. What is answered does not depend on it.
    #[arg(long, default_value_t = 64)]
    pub(crate) batch: usize,
    /// Keys and values of what is decoded, in MiB at most; requests that do not fit wait, and one that never could is refused.
    #[arg(long, default_value_t = LocalEngine::CACHE_MIB)]
    pub(crate) cache_mib: usize,
    /// Tokens of an answer at most [default: what the model's context leaves].
    #[arg(long)]
    pub(crate) max_new_tokens: Option<usize>,
    /// Tokens of a prompt at most, pictures included [default: the model's context].
    #[arg(long)]
    pub(crate) max_prompt_tokens: Option<usize>,
    /// Seconds in which a request must have come as a whole; its head has 10 at most. A client that takes nothing of its reply
    /// for so long is gone, and so is a connection that says nothing.
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    pub(crate) read_timeout: u64,
    /// Stops at once when stdin closes, as it does when the process that holds it ends.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The format that weights are kept in; bf16 needs half the memory of f32, and computes in f32 as well.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Changes nothing: what is printed is one JSON object with url, model and pid in any case.
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
        cache_mib: arguments.cache_mib,
        max_new_tokens: arguments.max_new_tokens,
        max_prompt_tokens: arguments.max_prompt_tokens,
        api_key: arguments.api_key.or_else(|| std::env::var(KEY_VARIABLE).ok()),
        local_images: arguments.allow_local_images,
        read_timeout_secs: arguments.read_timeout,
    };
    // Tells of kernels that are compiled for the first requests.
    let printer = Printer::new();
    let device = device::open(&arguments.device)?;
    let (stop, stops) = mpsc::unbounded_channel();
    stop_on_signals(stop.clone())?;
    if arguments.until_stdin_closes {
        stop_with_stdin(stop);
    }
    let mut printed = Ok(());
    serve(&options, &device, stops, &mut |listening, notes| {
        notes.iter().for_each(|note| eprintln!("{note}"));
        printed = say(listening);
    })?;
    printer.finish();
    printed
}

/// The address on stdout, and how to ask on stderr.
fn say(listening: &Listening) -> Result<()> {
    let Listening { url, model, .. } = listening;
    let body = json!({"model": model, "messages": [{"role": "user", "content": "What is 2 + 3?"}]});
    eprintln!(
        "`{model}` listens on {url}; ask it: curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    );
    print_json(listening, true)
}

/// Ctrl-C, or being told to end, stops gently; a second time, at once.
fn stop_on_signals(stop: mpsc::UnboundedSender<Stop>) -> Result<()> {
    on_signals(move || {
        let heard = stop.send(Stop::Gently).is_ok();
        if heard {
            eprintln!("stopping after the requests in flight, within seconds; once more stops at once");
        }
        heard
    })
}

fn stop_with_stdin(stop: mpsc::UnboundedSender<Stop>) {
    thread::spawn(move || {
        // An unreadable stdin is as good as a closed one; what is written to it is nobody's business.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        // An error means that the server has stopped already.
        _ = stop.send(Stop::Now);
    });
}
