//! One call of a plugin from start to exit code.
//!
//! It prints one document at most: a result, an error, or the versions. The words and the order
//! of the checks are the reference implementation's (`pkg/skel`), but for the check of the
//! namespace, which is made there after the handler has run.

use std::ffi::OsString;
use std::io::{Read, Write};

use super::{Environment, NetConf, Plugin, Request, netns, panic};
use crate::{CniResult, Command, Error, SpecVersion};

/// The release of the reference plugins whose features we have: runtimes read it from here
/// (nerdctl asks for 1.7.1 to use `ingressPolicy: isolated`).
const FEATURE_LEVEL: &str = "v1.9.1";

/// What a plugin is connected to.
pub struct Io<'a> {
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The configuration.
    pub stdin: &'a mut dyn Read,
    /// Results and errors.
    pub stdout: &'a mut dyn Write,
    /// What the plugin is, if it is not told what to do.
    pub stderr: &'a mut dyn Write,
}

/// Runs a plugin in this process, for `main`. The exit status.
pub fn run(plugin: &dyn Plugin) -> u8 {
    panic::install_hook();
    let io = Io {
        env: &|name| std::env::var_os(name),
        stdin: &mut std::io::stdin().lock(),
        stdout: &mut Stdout,
        stderr: &mut std::io::stderr().lock(),
    };
    dispatch(plugin, io)
}

/// Standard output without the buffer that would hand on a document's last line by itself.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Answers one request: 0 for success, 1 for an error.
pub fn dispatch(plugin: &dyn Plugin, io: Io<'_>) -> u8 {
    let env = match Environment::read(io.env) {
        Ok(Some(env)) => env,
        Ok(None) => return about(plugin, io.stderr),
        Err(error) => return fail(&error, newest(plugin), io.stdout),
    };
    if env.command == Command::Version {
        return match print(&versions(plugin), io.stdout) {
            Ok(()) => 0,
            Err(_) => 1,
        };
    }
    let mut version = newest(plugin);
    match answer(plugin, env, io.stdin, &mut version) {
        Ok(Answer::Nothing) => 0,
        Ok(Answer::Result(request, text)) => match print(&text, io.stdout) {
            Ok(()) => 0,
            // Nobody knows of the attachment.
            Err(_) => {
                let _ = panic::caught(|| plugin.del(&request));
                1
            }
        },
        Err(error) => fail(&error, version, io.stdout),
    }
}

enum Answer {
    Nothing,
    Result(Box<Request>, String),
}

/// Sets `version` to the one to answer in, once it is known.
fn answer(
    plugin: &dyn Plugin,
    env: Environment,
    stdin: &mut dyn Read,
    version: &mut SpecVersion,
) -> Result<Answer, Error> {
    let mut bytes = Vec::with_capacity(4096);
    stdin
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("error reading from stdin: {error}")))?;
    let config = NetConf::parse(&bytes)?;
    *version = NetConf::version(&config, plugin.versions(), env.command)?;
    let request = Request::new(env, bytes, config, *version)?;
    let is_own = request.netns.as_deref().is_some_and(netns::is_own);
    let result = panic::caught(|| {
        plugin.netns_check(&request, is_own)?;
        handle(plugin, &request)
    })?;
    let Some(result) = result else {
        return Ok(Answer::Nothing);
    };
    match result.to_json(*version) {
        Ok(text) => Ok(Answer::Result(Box::new(request), text)),
        Err(error) => {
            let _ = panic::caught(|| plugin.del(&request));
            Err(error)
        }
    }
}

fn handle(plugin: &dyn Plugin, request: &Request) -> Result<Option<CniResult>, Error> {
    match request.command {
        Command::Add => return plugin.add(request).map(Some),
        Command::Del => plugin.del(request)?,
        Command::Check => plugin.check(request)?,
        Command::Gc => plugin.gc(request)?,
        Command::Status => plugin.status(request)?,
        Command::Version => {}
    }
    Ok(None)
}

fn newest(plugin: &dyn Plugin) -> SpecVersion {
    plugin.versions().last().copied().unwrap_or(SpecVersion::CURRENT)
}

fn versions(plugin: &dyn Plugin) -> String {
    let supported = plugin.versions().iter().map(|version| format!("\"{version}\""));
    let supported = supported.collect::<Vec<_>>().join(",");
    let current = SpecVersion::CURRENT;
    format!("{{\"cniVersion\":\"{current}\",\"supportedVersions\":[{supported}]}}\n")
}

/// nerdctl reads the first line.
fn about(plugin: &dyn Plugin, stderr: &mut dyn Write) -> u8 {
    let supported: Vec<_> = plugin.versions().iter().map(|version| version.as_str()).collect();
    let text = format!(
        "CNI {} plugin {FEATURE_LEVEL}\nCNI protocol versions supported: {}\n",
        plugin.name(),
        supported.join(", ")
    );
    // With standard error closed there is nobody to tell.
    let _ = print(&text, stderr);
    0
}

fn fail(error: &Error, version: SpecVersion, stdout: &mut dyn Write) -> u8 {
    // The exit code says it all the same.
    let _ = print(&error.to_json(version), stdout);
    1
}

fn print(text: &str, stream: &mut dyn Write) -> std::io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
