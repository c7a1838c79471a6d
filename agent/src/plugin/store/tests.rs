use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::{Store, StoreError, text};
use crate::gateway::document::SourceFile;
use crate::plugin::stored::StoredPlugin;

const ONE: &str = "- {name: runscope, config: {access_token: T, bucket_key: one}}";

fn plugins(yaml: &str) -> Vec<StoredPlugin> {
    let file = SourceFile {
        name: Arc::from("s.yml"),
        bytes: yaml.as_bytes().to_vec(),
    };
    text::read(&file).unwrap_or_else(|mistakes| panic!("{yaml}\n{mistakes}"))
}

fn bucket_keys(plugins: &[StoredPlugin]) -> Vec<String> {
    plugins
        .iter()
        .map(|plugin| plugin.settings.bucket_key.clone())
        .collect()
}

/// A store, its file, and what it told of.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
    store: Store,
    told: Mutex<Vec<Vec<String>>>,
}

impl Scene {
    fn new(contents: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runscope.yml");
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
        }
        Self {
            store: Store::open(path.clone()).unwrap(),
            _directory: directory,
            path,
            told: Mutex::default(),
        }
    }

    fn tell(&self, plugins: &[StoredPlugin]) {
        self.told.lock().unwrap().push(bucket_keys(plugins));
    }

    fn look(&self) {
        self.store.look(&|plugins| self.tell(plugins));
    }

    fn put(&self, new: Vec<StoredPlugin>) -> Result<(), StoreError> {
        self.store
            .change(|_| ((), Some(new)), &|plugins| self.tell(plugins))
    }

    /// What is in force, and what was told since the last time.
    fn check(&self, in_force: &[&str], told: &[&[&str]], broken: Option<&str>) {
        let view = self.store.view();
        assert_eq!(bucket_keys(&view.plugins), in_force);
        assert_eq!(std::mem::take(&mut *self.told.lock().unwrap()), told);
        let mistakes = view.mistakes.as_ref().map(ToString::to_string);
        match broken {
            None => assert_eq!(mistakes, None),
            Some(part) => assert!(mistakes.as_ref().unwrap().contains(part), "{mistakes:?}"),
        }
    }
}

#[test]
fn what_is_written_is_read_again_and_nobody_else_may() {
    let scene = Scene::new(None);
    let all = plugins(
        "
plugins:
- {name: runscope, id: 00000000-0000-4000-8000-000000000001, created_at: 5, updated_at: 6,
   config: {access_token: 'a \"quoted\" #1', bucket_key: 'é: {x}', timeout: 7, keepalive: 8, log_body: true, tls_verify: false}}
- {name: runscope, service: {name: s}, route: r, consumer: {id: c}, enabled: false, tags: [a, 'b,c'], instance_name: i,
   protocols: [https], config: {access_token: T, bucket_key: B, api_endpoint: 'http://h/x'}}
- {name: runscope, api: a, config: {access_token: T, bucket_key: 'null'}}
- {name: runscope, consumer_group: {name: gold}, config: {access_token: T, bucket_key: G}}
",
    );
    scene.put(all.clone()).unwrap();
    assert_eq!(*scene.store.view().plugins, *all);
    assert_eq!(*Store::open(scene.path.clone()).unwrap().view().plugins, *all);
    let metadata = fs::metadata(&scene.path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(scene.path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");
    // One's own write is no edit.
    scene.look();
    scene.check(
        &["é: {x}", "B", "null", "G"],
        &[&["é: {x}", "B", "null", "G"]],
        None,
    );
    // Others that take Kong's form can read it, too.
    let bytes = fs::read(&scene.path).unwrap();
    let name = Arc::from("s.yml");
    let value = crate::gateway::document::parse(&SourceFile { name, bytes }).unwrap();
    assert_eq!(value["_format_version"], "3.0");
    assert_eq!(value["plugins"][1]["service"]["name"], "s");
}

#[test]
fn edits_are_taken_and_broken_ones_keep_the_last_state() {
    let scene = Scene::new(Some(&format!("plugins:\n{ONE}\n")));
    scene.check(&["one"], &[], None);
    let edit = |contents: &str| {
        // As editors do it: another file in its place.
        let beside = scene.path.with_extension("edit");
        fs::write(&beside, contents).unwrap();
        fs::rename(&beside, &scene.path).unwrap();
        scene.look();
    };
    edit("plugins:\n- {name: runscope, config: {access_token: T, bucket_key: two}}\n");
    scene.check(&["two"], &[&["two"]], None);
    edit("plugins:\n- {name: runscope\n");
    scene.check(&["two"], &[], Some("runscope.yml:"));
    let broken = scene.put(Vec::new()).unwrap_err();
    assert!(matches!(broken, StoreError::Broken(_)), "{broken}");
    assert!(
        fs::read_to_string(&scene.path)
            .unwrap()
            .contains("{name: runscope\n")
    );
    edit("plugins:\n- {name: runscope, config: {bucket_key: x}}\n");
    scene.check(
        &["two"],
        &[],
        Some("plugins[0].config.access_token: access_token is required"),
    );
    edit("");
    scene.check(&["two"], &[], Some("is empty"));
    // The same again, with a comment: nothing to tell.
    edit("# mine\nplugins:\n- {name: runscope, config: {access_token: T, bucket_key: two}}\n");
    scene.check(&["two"], &[], None);
    scene.put(plugins("plugins: []")).unwrap();
    assert!(
        !fs::read_to_string(&scene.path).unwrap().contains("mine"),
        "comments go"
    );
    scene.check(&[], &[&[]], None);
    edit(&format!("plugins:\n{ONE}\n"));
    scene.check(&["one"], &[&["one"]], None);
    fs::remove_file(&scene.path).unwrap();
    scene.look();
    scene.check(&[], &[&[]], None);
}

#[test]
fn a_change_sees_an_edit_that_nobody_looked_at_yet() {
    let scene = Scene::new(Some("plugins: []\n"));
    fs::write(&scene.path, format!("plugins:\n{ONE}\n")).unwrap();
    let seen = scene
        .store
        .change(|plugins| (bucket_keys(plugins), None), &|_| {})
        .unwrap();
    assert_eq!(seen, ["one"]);
}

#[test]
fn a_disk_that_refuses_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the directory should be: not even root can write there.
    fs::write(directory.path().join("file"), "").unwrap();
    let path = directory.path().join("file/runscope.yml");
    assert!(Store::open(path).is_err(), "no directory");
    let path = directory.path().join("new/deep/runscope.yml");
    let store = Store::open(path.clone()).unwrap();
    let one = plugins(&format!("plugins: [{}]", ONE.trim_start_matches("- ")));
    store.change(|_| ((), Some(one.clone())), &|_| {}).unwrap();
    let made = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(
        made.mode() & 0o777,
        0o700,
        "directories that it makes are its own"
    );
    // The name beside it is taken by what cannot be removed as a file.
    fs::create_dir(path.with_extension("yml.new")).unwrap();
    let refused = store.change(|_| ((), Some(Vec::new())), &|_| panic!("told of nothing"));
    assert!(matches!(refused, Err(StoreError::Write { .. })), "{refused:?}");
    assert_eq!(*store.view().plugins, *one);
    assert_eq!(*Store::open(path).unwrap().view().plugins, *one);
}

#[test]
fn what_could_not_be_written_back_is_refused() {
    let config = "config: {access_token: T, bucket_key: B}";
    for (yaml, expected) in [
        ("services: []", "services: cannot be kept here"),
        (
            "plugins: [{name: key-auth}]",
            "plugins[0].name: must be `runscope`",
        ),
        ("plugins: [{config: {}}]", "plugins[0].name: name is required"),
        (
            &format!("plugins: [{{name: runscope, servce: s, {config}}}]"),
            "plugins[0].servce: is an unknown field; did you mean `service`?",
        ),
        (
            &format!("plugins: [{{name: runscope, id: x, {config}}}]"),
            "plugins[0].id: must be a UUID",
        ),
        (
            &format!("plugins: [{{name: runscope, api: a, route: r, {config}}}]"),
            "plugins[0].api: cannot stand beside",
        ),
        (
            &format!("plugins: [{{name: runscope, {config}}}, {{name: runscope, {config}}}]"),
            "plugins[1]: has the same scope as plugins[0]",
        ),
        (
            &format!("plugins: [{{name: runscope, protocols: [tcp], {config}}}]"),
            "plugins[0].protocols: `tcp` is none of",
        ),
        ("plugins: 7", "plugins: must be a list"),
        ("[1]", "must be a map"),
    ] {
        let file = SourceFile {
            name: Arc::from("s.yml"),
            bytes: yaml.as_bytes().to_vec(),
        };
        let mistakes = text::read(&file).expect_err(yaml).to_string();
        assert!(mistakes.contains(expected), "{yaml}: {mistakes}");
    }
}

#[test]
fn one_written_by_hand_without_an_id_keeps_the_same_one_while_its_scope_is_the_same() {
    let of = |text: &str| {
        plugins(&format!("plugins: [{{name: runscope, {text}}}]"))[0]
            .id
            .clone()
    };
    let config = "config: {access_token: T, bucket_key: B}";
    let id = of(&format!("service: s, {config}"));
    assert_eq!(of("service: s, config: {access_token: U, bucket_key: C}"), id);
    assert_ne!(of(&format!("service: t, {config}")), id);
    assert_ne!(of(&format!("route: s, {config}")), id);
    assert_ne!(of(&format!("service: s, consumer_group: g, {config}")), id);
}

proptest! {
    #[test]
    fn any_text_is_read_as_it_was_written(bucket in "\\PC{1,20}", name in any::<String>(), tag in any::<String>()) {
        let mut one = plugins(&format!("plugins:\n{ONE}\n"));
        one[0].settings.bucket_key = bucket.trim().to_owned();
        one[0].instance_name = Some(name);
        one[0].tags = Some(vec![tag]);
        prop_assume!(!one[0].settings.bucket_key.is_empty() && !["." , ".."].contains(&&*one[0].settings.bucket_key));
        let again = plugins(&text::write(&one));
        prop_assert_eq!(&again[0].settings.bucket_key, &one[0].settings.bucket_key);
        prop_assert_eq!((&again[0].instance_name, &again[0].tags), (&one[0].instance_name, &one[0].tags));
    }
}

/// The variable that makes [`writer`] one.
const WRITER: &str = "KONGTAP_TEST_STORE_WRITER";

/// Not a test of its own: the process that [`a_writer_that_is_killed_leaves_the_old_state_or_the_new_one`] kills. In state `n` the
/// file has 1 + n mod 50 configurations, all of whose bucket keys are `n`.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WRITER) else {
        return;
    };
    let store = Store::open(PathBuf::from(path)).unwrap();
    let one = plugins(&format!("plugins:\n{ONE}\n")).remove(0);
    for state in state_of(store.path()).map_or(0, |state| state + 1).. {
        let entry = |index: u64| {
            let mut plugin = one.clone();
            plugin.id = uuid::Uuid::from_u128(u128::from(index)).to_string();
            plugin.settings.bucket_key = state.to_string();
            plugin.scope.service = Some(crate::gateway::entities::Reference::Any(format!("s{index}")));
            plugin
        };
        let new = (0..=state % 50).map(entry).collect();
        store.change(|_| ((), Some(new)), &|_| {}).unwrap();
    }
}

/// The state that the file is in; `None` before the first.
fn state_of(path: &Path) -> Option<u64> {
    let store = Store::open(path.to_owned()).unwrap_or_else(|mistakes| panic!("torn: {mistakes}"));
    let keys = bucket_keys(&store.view().plugins);
    let state: u64 = keys.first()?.parse().unwrap();
    assert!(
        keys.iter().all(|key| *key == state.to_string()),
        "two states in one: {keys:?}"
    );
    assert_eq!(
        u64::try_from(keys.len()).unwrap(),
        state % 50 + 1,
        "half of one: {keys:?}"
    );
    Some(state)
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_state_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("runscope.yml");
    let mut last = None;
    for round in 0..60_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["plugin::store::tests::writer", "--exact", "--nocapture"])
            .env(WRITER, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Until it has written something; then a little longer, to hit another moment each time.
        let before = last;
        let waiting = crate::clock::instant();
        while state_of(&path) == before {
            assert!(waiting.elapsed() < Duration::from_secs(20), "it writes nothing");
            std::thread::yield_now();
        }
        let more = Duration::from_micros(round * 137);
        let waiting = crate::clock::instant();
        while waiting.elapsed() < more {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let now = state_of(&path);
        assert!(now > before, "what was answered for is there: {before:?} {now:?}");
        last = now;
    }
}
