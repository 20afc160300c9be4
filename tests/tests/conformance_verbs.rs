//! Every plugin, every verb but DEL (that is `conformance`'s), every version that has the verb, in
//! the situations in which a runtime may send it. What Debian's reference does otherwise is listed
//! in conformance_verbs.txt, with reasons in docs/compatibility.md.

use cleat_tests::{Attached, Chain, Container, Lab, Outcome, Programs, ranges};
use serde_json::{Value, json};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest that Debian's reference speaks.
const COMMON: &str = "1.0.0";

/// What is there when a verb is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    AddToAGoneNamespace,
    AddToNoNamespace,
    AddAgain,
    AddWithoutResult,
    AddWithWrongResult,
    AddOfATakenName,
    Check,
    CheckWithoutResult,
    CheckOfAGoneNamespace,
    CheckOfAGoneLink,
    CheckAfterDel,
    GcOfNothing,
    GcOfAll,
    Status,
}

const SITUATIONS: [Situation; 14] = [
    Situation::AddToAGoneNamespace,
    Situation::AddToNoNamespace,
    Situation::AddAgain,
    Situation::AddWithoutResult,
    Situation::AddWithWrongResult,
    Situation::AddOfATakenName,
    Situation::Check,
    Situation::CheckWithoutResult,
    Situation::CheckOfAGoneNamespace,
    Situation::CheckOfAGoneLink,
    Situation::CheckAfterDel,
    Situation::GcOfNothing,
    Situation::GcOfAll,
    Situation::Status,
];

impl Situation {
    fn is_in(self, version: &str) -> bool {
        match format!("{self:?}") {
            name if name.starts_with("Check") => version != "0.3.1",
            name if name.starts_with("Gc") || name == "Status" => version == "1.1.0",
            _ => true,
        }
    }
}

/// A plugin, and what comes before it.
struct Subject {
    name: &'static str,
    chain: Vec<Value>,
}

impl Subject {
    fn is_chained(&self) -> bool {
        self.chain.len() > 1
    }

    /// The plugin itself.
    fn section<'c>(&self, chain: &'c Chain<'_>) -> &'c Value {
        chain.plugins().last().unwrap()
    }
}

fn subjects() -> Vec<Subject> {
    let pool = || ranges(&["10.88.0.0/24"]);
    let first = || json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": pool()});
    let alone = |name, plugin: Value| Subject { name, chain: vec![plugin] };
    let behind = |name, plugin: Value| Subject { name, chain: vec![first(), plugin] };
    let rates = json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 800_000});
    let ports = json!({"type": "portmap", "runtimeConfig": {"portMappings":
        [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}});
    vec![
        alone("bridge", first()),
        alone("ptp", json!({"type": "ptp", "ipam": pool()})),
        alone("macvlan", json!({"type": "macvlan", "master": "eth0", "ipam": pool()})),
        alone("host-device", json!({"type": "host-device", "device": "dev0", "ipam": pool()})),
        alone("tap", json!({"type": "tap", "ipam": pool()})),
        behind("portmap", ports),
        behind("firewall", json!({"type": "firewall", "backend": "iptables"})),
        behind("tuning", json!({"type": "tuning", "mtu": 1400})),
        behind("bandwidth", rates),
        behind("sbr", json!({"type": "sbr"})),
    ]
}

/// A chain with one container that was attached, and what is there without any.
struct Stage<'l> {
    lab: &'l Lab,
    chain: Chain<'l>,
    version: &'l str,
    container: Container,
}

impl Stage<'_> {
    /// The plugins before the subject, done.
    fn before_it(&self) -> Option<Value> {
        let mut previous = None;
        let count = self.chain.plugins().count();
        for section in self.chain.plugins().take(count - 1) {
            let call = self.chain.invocation(section, "ADD", &self.container, previous.as_ref());
            previous = Some(call.run().ok());
        }
        previous
    }

    fn send(&self, subject: &Subject, verb: &str, previous: Option<&Value>) -> Outcome {
        let section = subject.section(&self.chain);
        self.chain.invocation(section, verb, &self.container, previous).run()
    }

    fn check(&self, subject: &Subject, attached: &Attached) -> bool {
        self.version == "0.3.1" || self.send(subject, "CHECK", Some(&attached.result)).succeeded()
    }
}

/// In a word what a verb brought about; "clean" is as it should be.
fn verdict(
    programs: &Programs,
    (subject, version): (&Subject, &str),
    situation: Situation,
) -> &'static str {
    let lab = Lab::still();
    lab.host.ip("link add dev0 type veth peer name port0");
    let conflist = json!({"cniVersion": version, "name": "net", "plugins": subject.chain});
    let chain = lab.chain(conflist).by(programs);
    let before = chain.used();
    let container = lab.container();
    let stage = Stage { lab: &lab, chain, version, container };
    match situation {
        Situation::AddToAGoneNamespace
        | Situation::AddToNoNamespace
        | Situation::AddWithoutResult
        | Situation::AddWithWrongResult
        | Situation::AddOfATakenName => {
            let verdict = add(&stage, subject, situation);
            if verdict != "clean" {
                return verdict;
            }
            if lab.additions(&before).is_empty() { "clean" } else { "leaves something" }
        }
        Situation::AddAgain => add_again(&stage, subject),
        Situation::GcOfNothing => {
            stage.chain.attach(&stage.container);
            match stage.chain.gc(&[]) {
                Err(_) => "fails",
                Ok(()) if !lab.leased("net").is_empty() => "keeps the address",
                Ok(()) if lab.additions(&before).is_empty() => "clean",
                Ok(()) => "leaves something",
            }
        }
        Situation::GcOfAll => {
            let attached = stage.chain.attach(&stage.container);
            match stage.chain.gc(&[&stage.container]) {
                Err(_) => "fails",
                Ok(()) if stage.check(subject, &attached) => "clean",
                Ok(()) => "breaks what is valid",
            }
        }
        Situation::Status => {
            let section = subject.section(&stage.chain);
            let call = stage.chain.invocation(section, "STATUS", &stage.container, None);
            if call.run().succeeded() { "clean" } else { "fails" }
        }
        _ => check(&stage, subject, situation),
    }
}

/// ADD that cannot be: it must say so.
fn add(stage: &Stage<'_>, subject: &Subject, situation: Situation) -> &'static str {
    let (chain, container) = (&stage.chain, &stage.container);
    // What comes before it is not its own.
    let previous = stage.before_it();
    let path = container.ns.path();
    let outcome = match situation {
        Situation::AddToAGoneNamespace | Situation::AddToNoNamespace => {
            container.ns.delete();
            if situation == Situation::AddToNoNamespace {
                std::fs::write(&path, "").unwrap();
            }
            let outcome = stage.send(subject, "ADD", previous.as_ref());
            let _ = std::fs::remove_file(&path);
            outcome
        }
        Situation::AddWithoutResult if subject.is_chained() => stage.send(subject, "ADD", None),
        Situation::AddWithWrongResult if subject.is_chained() => {
            let wrong = json!({"cniVersion": stage.version, "interfaces": [], "ips": []});
            // What has nothing to do there may well do nothing.
            let outcome = stage.send(subject, "ADD", Some(&wrong));
            if outcome.code.is_none() || ![0, 1].contains(&outcome.code.unwrap()) {
                return "crashes";
            }
            let _ = chain.del(container, None);
            return "clean";
        }
        Situation::AddOfATakenName if !subject.is_chained() => {
            container.ns.ip("link add eth0 type veth peer name other");
            let outcome = stage.send(subject, "ADD", None);
            if container.ns.link("eth0").is_none() {
                return "deletes another's interface";
            }
            outcome
        }
        _ => {
            let _ = chain.del(container, None);
            return "clean";
        }
    };
    let verdict = match outcome.succeeded() {
        // What works on the host alone needs no namespace.
        true if ["portmap", "firewall", "bandwidth"].contains(&subject.name)
            && situation != Situation::AddWithoutResult =>
        {
            "clean"
        }
        true => "succeeds",
        false if outcome.stdout.trim().is_empty() || outcome.code != Some(1) => "crashes",
        false => "clean",
    };
    // A chain's first plugin did its part.
    let _ = match situation {
        Situation::AddOfATakenName => Ok(()),
        _ => chain.del(container, None),
    };
    verdict
}

/// The same ADD twice: whatever the second says, the first one's work stands.
fn add_again(stage: &Stage<'_>, subject: &Subject) -> &'static str {
    let previous = stage.before_it();
    let first = stage.send(subject, "ADD", previous.as_ref());
    let attached = Attached { result: first.ok() };
    let second = stage.send(subject, "ADD", previous.as_ref());
    if second.succeeded() && !subject.is_chained() {
        return "succeeds";
    }
    if !stage.check(subject, &attached) {
        return "breaks what is there";
    }
    match stage.chain.del(&stage.container, Some(&attached)) {
        Ok(()) if stage.lab.leased("net").is_empty() => "clean",
        Ok(()) => "keeps the address",
        Err(_) => "fails",
    }
}

fn check(stage: &Stage<'_>, subject: &Subject, situation: Situation) -> &'static str {
    let (chain, container) = (&stage.chain, &stage.container);
    let attached = chain.attach(container);
    let result = &attached.result;
    let path = container.ns.path();
    let outcome = match situation {
        Situation::Check => {
            let outcome = stage.send(subject, "CHECK", Some(result));
            return if outcome.succeeded() { "clean" } else { "fails" };
        }
        Situation::CheckWithoutResult => stage.send(subject, "CHECK", None),
        Situation::CheckOfAGoneNamespace => {
            container.ns.delete();
            let outcome = stage.send(subject, "CHECK", Some(result));
            let _ = std::fs::remove_file(&path);
            outcome
        }
        Situation::CheckOfAGoneLink => {
            container.ns.ip("link del eth0");
            stage.send(subject, "CHECK", Some(result))
        }
        _ => {
            if chain.del(container, Some(&attached)).is_err() {
                return "fails";
            }
            stage.send(subject, "CHECK", Some(result))
        }
    };
    // What a plugin made on the host alone is still there; a policy is the bridge's, and stays.
    let on_host = (subject.name == "firewall" && situation == Situation::CheckAfterDel)
        || ["portmap", "firewall"].contains(&subject.name)
            && [Situation::CheckOfAGoneNamespace, Situation::CheckOfAGoneLink].contains(&situation);
    match outcome.succeeded() {
        true if on_host => "clean",
        true => "succeeds",
        false if outcome.stdout.trim().is_empty() => "crashes",
        false => "clean",
    }
}

fn verdicts(programs: &Programs, version: &str) -> String {
    let mut lines = String::new();
    for subject in subjects() {
        let lacks = (subject.name == "firewall" && version == "0.3.1")
            || !programs.folder().join(subject.name).exists();
        for situation in SITUATIONS.into_iter().filter(|s| s.is_in(version) && !lacks) {
            let verdict = verdict(programs, (&subject, version), situation);
            if verdict != "clean" {
                lines += &format!("{}, {situation:?}: {verdict}\n", subject.name);
            }
        }
    }
    lines
}

#[test]
fn ours_is_clean_in_every_situation() {
    if Lab::still().is_reference() {
        return;
    }
    assert_eq!(verdicts(&Programs::under_test(), "1.1.0"), "");
}

#[test]
#[ignore = "takes long"]
fn ours_is_clean_in_every_version() {
    if Lab::still().is_reference() {
        return;
    }
    for version in VERSIONS.into_iter().filter(|version| *version != "1.1.0") {
        assert_eq!(verdicts(&Programs::under_test(), version), "", "{version}");
    }
}

#[test]
#[ignore = "takes long"]
fn the_reference_differs_as_is_known() {
    let found = verdicts(&Programs::reference(), COMMON);
    assert_eq!(found, KNOWN, "\n{found}");
}

/// What Debian's reference does otherwise.
const KNOWN: &str = include_str!("conformance_verbs.txt");
