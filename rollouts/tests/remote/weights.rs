//! The policy's weights go to the servers before they are asked, once for each version, and again to servers that lost them.

use sapo_policies::{LoraConfig, Policy};
use sapo_rollouts::{Engine, EngineConfig, EngineKind, RemoteEngine};

use crate::kinds::{Sglang, Vllm};
use crate::mock::Mock;
use crate::{complete, config, engine, model, requests, sample};

fn with_weights(config: EngineConfig, folder: &tempfile::TempDir) -> EngineConfig {
    EngineConfig { weights_dir: Some(folder.path().join("weights")), ..config }
}

fn versions(engine: &RemoteEngine, policy: &Policy) -> Vec<u64> {
    let groups = sapo_rollouts::sample_all(engine, policy, &requests(2, 2)).expect("samples");
    groups.into_iter().flat_map(|group| group.expect("answers")).map(|rollout| rollout.policy_version).collect()
}

const SGLANG_LOAD: [&str; 4] =
    ["/pause_generation", "/update_weights_from_disk", "/flush_cache", "/continue_generation"];

#[test]
fn sglang_is_given_every_version_once() {
    let (server, folder) = (Mock::start(Sglang::of_text()), tempfile::tempdir().expect("a folder"));
    let mut engine = engine(&with_weights(config(EngineKind::Sglang, &[&server]), &folder));
    let policy = &model().policy;
    assert_eq!(versions(&engine, policy), [0; 4]);
    assert_eq!(versions(&engine, policy), [0; 4]);
    // Versions that nobody samples with cost nothing.
    for version in 1..=5 {
        engine.publish(policy, version).expect("it is taken");
    }
    assert_eq!(versions(&engine, policy), [5; 4]);
    let calls = server.state.calls(|path| path == "/generate" || path.contains("model_info"));
    assert_eq!(calls, [SGLANG_LOAD, SGLANG_LOAD].concat());
    let told = server.state.bodies("/update_weights_from_disk");
    assert_eq!((&told[0]["weight_version"], &told[1]["weight_version"]), (&"0".into(), &"5".into()));
    assert!(told[1]["model_path"].as_str().expect("a text").ends_with("weights/version-00000005"));
    server.content();
}

#[test]
fn vllm_loads_the_whole_policy_by_its_workers() {
    let (mut server, folder) = (Mock::start(Vllm::of_text()), tempfile::tempdir().expect("a folder"));
    let mut engine = engine(&with_weights(config(EngineKind::Vllm, &[&server]), &folder));
    let policy = &model().policy;
    engine.publish(policy, 3).expect("it is taken");
    assert_eq!(versions(&engine, policy), [3; 4]);
    let load = ["/pause", "/collective_rpc", "/reset_prefix_cache", "/resume"];
    let calls = || server.state.calls(|path| path.starts_with("/v1/") || path == "/metrics");
    assert_eq!(calls(), load);
    // One that was started anew while nobody looked has other weights.
    server.restart();
    assert_eq!(versions(&engine, policy), [3; 4]);
    assert_eq!(server.state.count("/collective_rpc"), 2);
    assert!(server.state.version.lock().expect("a lock").ends_with("version-00000003"));
    server.content();
}

#[test]
fn adapters_have_a_name_for_each_version() {
    let (mut server, folder) = (Mock::start(Vllm::of_text()), tempfile::tempdir().expect("a folder"));
    let config = EngineConfig { lora: true, ..with_weights(config(EngineKind::Vllm, &[&server]), &folder) };
    let mut engine = engine(&config);
    let mut policy = model().policy.clone();
    assert!(engine.publish(&policy, 0).expect_err("no adapter").to_string().contains("engine.lora"));
    policy.add_lora(&lora(), &[], 1).expect("an adapter");
    for version in [1, 2] {
        engine.publish(&policy, version).expect("it is taken");
        assert_eq!(versions(&engine, &policy), [version; 4]);
        assert_eq!(*server.state.adapters.lock().expect("a lock"), [format!("sapo-{version}")]);
    }
    let models: Vec<_> = server.state.bodies("/v1/completions").iter().map(|body| body["model"].clone()).collect();
    assert_eq!(models, [["sapo-1"; 4], ["sapo-2"; 4]].concat());
    server.restart();
    assert_eq!(versions(&engine, &policy), [2; 4]);
    // To unload what is not there is refused by the server, and that is no harm.
    assert_eq!(server.state.count("/v1/load_lora_adapter"), 3);
    server.content();
}

fn lora() -> LoraConfig {
    serde_json::from_value(serde_json::json!({"rank": 2, "alpha": 4.0, "targets": ["q_proj"]})).expect("a lora")
}

#[test]
fn servers_sleep_between_samplings_and_get_their_weights_back() {
    let (server, folder) = (Mock::start(Sglang::of_text()), tempfile::tempdir().expect("a folder"));
    let config = EngineConfig { sleep: true, ..with_weights(config(EngineKind::Sglang, &[&server]), &folder) };
    let engine = engine(&config);
    for _ in 0..2 {
        assert_eq!(versions(&engine, &model().policy), [0; 4]);
    }
    drop(engine);
    let calls = server.state.calls(|path| path == "/generate" || path.contains("model_info"));
    let (sleep, wake) = (["/release_memory_occupation"].as_slice(), ["/resume_memory_occupation"].as_slice());
    let once = [&SGLANG_LOAD, sleep].concat();
    assert_eq!(calls, [once.as_slice(), wake, once.as_slice()].concat());
    server.content();

    let server = Mock::start(Vllm::of_text());
    let config = EngineConfig { sleep: true, ..crate::config(EngineKind::Vllm, &[&server]) };
    let engine = crate::engine(&config);
    let requests = requests(1, 2);
    for _ in 0..2 {
        complete(EngineKind::Vllm, &requests, &sample(&engine, &requests).expect("samples"));
    }
    drop(engine);
    assert_eq!(server.state.calls(|path| path.starts_with("/v1/")), ["/sleep?level=1", "/wake_up", "/sleep?level=1"]);
    server.content();
}

#[test]
fn a_policy_that_changes_needs_a_folder_and_only_one_run_has_it() {
    let (server, folder) = (Mock::start(Sglang::of_text()), tempfile::tempdir().expect("a folder"));
    let mut without = engine(&config(EngineKind::Sglang, &[&server]));
    without.publish(&model().policy, 0).expect("nothing has changed yet");
    let error = without.publish(&model().policy, 1).expect_err("nowhere to write to").to_string();
    assert!(error.contains("engine.weights_dir"), "{error}");
    let config = with_weights(config(EngineKind::Sglang, &[&server]), &folder);
    let held = engine(&config);
    let error = RemoteEngine::new(&config, &model().processor).err().expect("it is held").to_string();
    assert!(error.contains("name another folder"), "{error}");
    drop(held);
    drop(engine(&config));
}

#[test]
fn a_key_is_taken_from_the_environment_by_name() {
    let server = Mock::start(Sglang::of_text());
    let config =
        EngineConfig { api_key_env: Some("SAPO_NO_SUCH_KEY".to_owned()), ..config(EngineKind::Sglang, &[&server]) };
    let error = RemoteEngine::new(&config, &model().processor).err().expect("no key").to_string();
    assert!(error.contains("SAPO_NO_SUCH_KEY"), "{error}");
}
