//! State that is broken, full or not writable, and calls killed at any moment: attach says so and
//! changes nothing, detach frees everything all the same.

use std::fs;
use std::time::{Duration, Instant};

use cleat_tests::{Chain, Lab, Outcome, ranges};
use serde_json::{Value, json};

fn conflist() -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br0", "isDefaultGateway": true, "ipMasq": true,
            "ipam": ranges(&["10.88.0.0/24"])},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"},
        {"type": "tuning", "mtu": 1400},
    ]})
}

fn chain(lab: &Lab) -> Chain<'_> {
    lab.chain(conflist()).capabilities(json!({"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}))
}

/// ADD of the main plugin after shell lines that spoil this call's view of the disk.
fn add_after(lab: &Lab, lines: &str) -> Outcome {
    let chain = chain(lab);
    let container = lab.container();
    let bridge = chain.plugins().next().unwrap();
    let outcome = chain.invocation(bridge, "ADD", &container, None).after(lines).run();
    assert!(container.ns.link("eth0").is_none(), "{lines}: left eth0: {outcome:?}");
    outcome
}

/// A file system of the lab's folder that takes nothing more.
fn full(lab: &Lab, name: &str) -> String {
    let folder = lab.folder().join(name).display().to_string();
    format!(
        "copy=$(mktemp -d); cp -a '{folder}/.' $copy; mount -t tmpfs -o size=64k cleat-lab '{folder}'; \
         cp -a $copy/. '{folder}'; rm -r $copy; \
         dd if=/dev/zero of='{folder}/filler' bs=1k 2>/dev/null || true"
    )
}

/// The lab's folder, not writable.
fn read_only(lab: &Lab, name: &str) -> String {
    let folder = lab.folder().join(name).display().to_string();
    format!("mount --bind '{folder}' '{folder}'; mount -o remount,bind,ro '{folder}'")
}

#[test]
fn attach_on_a_disk_that_takes_nothing_is_refused() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let before = chain(&lab).used();
    for name in ["run", "leases"] {
        for (lines, word) in [(full(&lab, name), "space"), (read_only(&lab, name), "ead-only")] {
            let text = add_after(&lab, &lines).error_text();
            assert!(text.contains(word), "{name}: {text}");
            assert!(text.contains("cleat-lab"), "{name}: the path is named: {text}");
            lab.assert_as_before(&before);
        }
    }
}

#[test]
fn detach_on_a_disk_that_takes_nothing_frees_everything() {
    for kind in ["full", "read-only"] {
        let lab = Lab::new();
        if lab.is_reference() {
            return;
        }
        let chain = chain(&lab);
        let before = chain.used();
        let container = lab.container();
        let attached = chain.attach(&container);
        let lines = match kind {
            "full" => format!("{}\n{}", full(&lab, "run"), full(&lab, "state")),
            _ => format!("{}\n{}", read_only(&lab, "run"), read_only(&lab, "state")),
        };
        for section in chain.plugins().rev() {
            let call = chain.invocation(section, "DEL", &container, Some(&attached.result));
            let outcome = call.after(&lines).run();
            assert!(outcome.succeeded(), "{kind}: {outcome:?}");
        }
        let difference = before.kernel().difference(&lab.snapshot().kernel());
        assert!(difference.is_empty(), "{kind}: not as before:\n{difference}");
        assert!(lab.leased("net").is_empty(), "{kind}");
        // Once the disk is well again, a repeated DEL takes the notes away.
        chain.del(&container, Some(&attached)).unwrap();
        lab.assert_as_before(&before);
    }
}

/// What may become of a record.
fn damages(intact: &str) -> Vec<(&'static str, String)> {
    let mut newer: Value = serde_json::from_str(intact).unwrap();
    newer["schema"] = json!(9999);
    vec![
        ("empty", String::new()),
        ("truncated", intact[..intact.len() / 2].to_owned()),
        ("not JSON", "\u{0}\u{1}\u{2}".to_owned()),
        ("another document", "[1, 2, 3]".to_owned()),
        ("newer", newer.to_string()),
    ]
}

#[test]
fn detach_despite_broken_records() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab);
    let before = chain.used();
    for index in 0..5 {
        let container = lab.container();
        let attached = chain.attach(&container);
        let mut what = "";
        for file in before.new_files(&lab.snapshot()) {
            let path = lab.folder().join(&file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            // What an earlier round set aside has another name.
            if file.starts_with("run/") && file.ends_with(".json") {
                let (name, damaged) = damages(&text).swap_remove(index);
                what = name;
                fs::write(&path, damaged).unwrap();
            }
        }
        assert!(!what.is_empty(), "an attachment has a record");
        let mut warned = false;
        for section in chain.plugins().rev() {
            let call = chain.invocation(section, "DEL", &container, Some(&attached.result));
            let outcome = call.run();
            assert!(outcome.succeeded(), "{what}: {outcome:?}");
            warned |= !outcome.stderr.is_empty();
        }
        assert!(warned, "{what}: nobody was told");
        let difference = before.kernel().difference(&lab.snapshot().kernel());
        assert!(difference.is_empty(), "{what}: not as before:\n{difference}");
        assert!(lab.leased("net").is_empty(), "{what}");
        // What was set aside is no obstacle.
        let again = chain.attach(&container);
        chain.detach(&container, &again);
    }
}

#[test]
fn attach_refuses_a_record_of_a_newer_version() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab);
    let before = chain.used();
    let container = lab.container();
    let attached = chain.attach(&container);
    let records: Vec<_> = before
        .new_files(&lab.snapshot())
        .into_iter()
        .map(|file| lab.folder().join(file))
        .filter(|path| path.parent().unwrap().ends_with("attachments"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    chain.detach(&container, &attached);
    for (path, text) in &records {
        let newer = damages(text).pop().unwrap().1;
        fs::write(path, &newer).unwrap();
        let broken = lab.snapshot();
        let text = chain.add(&container).unwrap_err().error_text();
        assert!(text.contains("9999"), "the version is named: {text}");
        assert_eq!(fs::read_to_string(path).unwrap(), newer, "never rewritten");
        lab.assert_as_before(&broken);
    }
}

#[test]
fn a_broken_earlier_result_does_not_stop_detach() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab);
    let before = chain.used();
    for broken in
        [json!("text"), json!({"ips": "none"}), json!({"cniVersion": "7.0.0"}), json!(null)]
    {
        let container = lab.container();
        chain.attach(&container);
        for section in chain.plugins().rev() {
            let call = chain.invocation(section, "DEL", &container, Some(&broken));
            let outcome = call.run();
            assert!(outcome.succeeded(), "{broken}: {outcome:?}");
        }
        lab.assert_as_before(&before);
    }
}

#[test]
fn a_subnet_of_another_network_is_refused() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let first = chain(&lab);
    let holder = lab.container();
    first.attach(&holder);
    let before = lab.snapshot();
    let mut other = conflist();
    other["name"] = json!("other");
    other["plugins"][0]["bridge"] = json!("br1");
    other["plugins"][0]["ipam"] = ranges(&["10.88.0.128/25"]);
    let container = lab.container();
    let text = lab.chain(other).add(&container).unwrap_err().error_text();
    assert!(text.contains("10.88.0"), "{text}");
    lab.assert_as_before(&before);
}

#[test]
fn a_full_bridge_is_named() {
    let lab = Lab::new();
    let chain = chain(&lab);
    chain.used();
    let container = lab.container();
    lab.host.sh("i=0; while [ $i -lt 1023 ]; do \
        echo link add p$i type veth peer name q$i; echo link set p$i master br0; i=$((i+1)); done \
        | ip -batch -");
    let before = lab.snapshot();
    let text = chain.add(&container).unwrap_err().error_text();
    assert!(container.ns.link("eth0").is_none() || lab.is_reference());
    if !lab.is_reference() {
        assert!(text.contains("1023") && text.contains("br0"), "{text}");
        lab.assert_as_before(&before);
    }
}

/// Not at a system call, as the steps suite does, but whenever: ADD and DEL.
#[test]
fn killed_at_any_time() {
    let lab = Lab::new();
    if lab.is_reference() {
        return;
    }
    let chain = chain(&lab);
    let before = chain.used();
    let bridge = chain.plugins().next().unwrap().clone();
    // How long a call takes here sets the moments.
    let container = lab.container();
    let start = Instant::now();
    chain.invocation(&bridge, "ADD", &container, None).run().ok();
    let whole = start.elapsed();
    chain.del(&container, None).unwrap();
    let mut random = 0x2545_f491_u32;
    for _ in 0..60 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let delay = whole.mul_f64(f64::from(random >> 16) / 65_536.0);
        let container = lab.container();
        let verb = if random & 0x8000 == 0 { "ADD" } else { "DEL" };
        if verb == "DEL" {
            chain.attach(&container);
        }
        let mut child = chain.invocation(&bridge, verb, &container, None).start();
        std::thread::sleep(delay.max(Duration::from_micros(100)));
        child.kill().unwrap();
        child.wait().unwrap();
        chain.del(&container, None).unwrap_or_else(|o| panic!("{verb} after {delay:?}: {o:?}"));
        let difference = lab.changes(&before);
        assert!(difference.is_empty(), "{verb} killed after {delay:?} left:\n{difference}");
        assert!(container.ns.link("eth0").is_none());
    }
}
