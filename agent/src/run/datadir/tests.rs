use super::*;

const UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn grastate(uuid: &str, seqno: &str) -> String {
    format!(
        "# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: 0\n"
    )
}

fn examine(files: &[(&str, &str)]) -> Result<DataDirContents, RunError> {
    let dir = directory(files);
    DataDir::open(dir.path(), false)?.examine("lab")
}

fn identity(prepared: bool) -> String {
    format!(r#"{{"id":"a","cluster":"lab","prepared":{prepared},"obeyed":[]}}"#)
}

#[test]
fn examines_the_contents() {
    let nil = "00000000-0000-0000-0000-000000000000";
    let (known, prepared) = (identity(false), identity(true));
    let incomplete = |data: &DataState| matches!(data, DataState::Incomplete { .. });
    type Check = fn(&DataState) -> bool;
    let nowhere = grastate(nil, "-1");
    let cases: [(&[(&str, &str)], Check); 11] = [
        (
            &[(".galera-agent.json", &prepared), ("grastate.dat", "")],
            |data| *data == DataState::Empty,
        ),
        // The first start of a founder failed.
        (
            &[
                (".galera-agent.json", &prepared),
                ("grastate.dat", &nowhere),
            ],
            |data| *data == DataState::Empty,
        ),
        (&[], |data| *data == DataState::Empty),
        (&[("lost+found", "")], |data| *data == DataState::Empty),
        (&[(INITIALIZING_FILE, ""), ("ibdata1", "x")], |data| {
            *data == DataState::Empty
        }),
        // I39: the file is not believed without the storage engine.
        (&[("grastate.dat", &grastate(UUID, "17"))], |data| {
            matches!(data, DataState::Unrecovered { uuid: Some(_) })
        }),
        // I8: the -1 of a crashed node is unknown, not the lowest position.
        (&[("grastate.dat", &grastate(UUID, "-1"))], |data| {
            matches!(data, DataState::Unrecovered { uuid: Some(_) })
        }),
        (&[("grastate.dat", &grastate(nil, "-1"))], incomplete),
        (&[("grastate.dat", "\u{0}\u{0}garbage")], |data| {
            matches!(data, DataState::Unrecovered { uuid: None })
        }),
        (
            &[(".galera-agent.json", &known), ("ibdata1", "")],
            incomplete,
        ),
        (
            &[(".galera-agent.json", &prepared), ("ibdata1", "")],
            |data| *data == DataState::Empty,
        ),
    ];
    for (files, check) in cases {
        let found = examine(files).unwrap();
        assert!(check(&found.data), "{files:?}: {found:?}");
        assert_eq!(
            found.interrupted_init,
            files.iter().any(|(name, _)| *name == INITIALIZING_FILE)
        );
    }
}

#[test]
fn foreign_directories_are_refused_and_left_as_they_are() {
    for files in [&[("thesis.txt", "x")][..], &[("ibdata1", "x")]] {
        let dir = directory(files);
        let failure = DataDir::open(dir.path(), false)
            .and_then(|data| data.examine("lab"))
            .unwrap_err();
        assert_eq!(failure.exit_code(), 64, "{failure}");
        assert!(failure.to_string().contains(dir.path().to_str().unwrap()));
        assert_eq!(
            fs::read_to_string(dir.path().join(files[0].0)).unwrap(),
            "x"
        );
    }
    let other = r#"{"id":"a","cluster":"other","prepared":false,"obeyed":[]}"#;
    let failure = examine(&[(".galera-agent.json", other)]).unwrap_err();
    assert!(failure.to_string().contains("\"other\""), "{failure}");
    let failure = DataDir::open(Path::new("/nonexistent/data"), false).unwrap_err();
    assert_eq!(failure.exit_code(), 64, "{failure}");
}

#[test]
fn only_one_agent_opens_a_directory() {
    let dir = directory(&[]);
    let held = DataDir::open(dir.path(), false).unwrap();
    let failure = DataDir::open(dir.path(), false).unwrap_err();
    assert_eq!(failure.exit_code(), 69, "{failure}");
    drop(held);
    DataDir::open(dir.path(), false).unwrap();
}

#[test]
fn an_interrupted_initialization_is_removed_whole() {
    let dir = directory(&[]);
    let data = DataDir::open(dir.path(), false).unwrap();
    data.begin_initialization().unwrap();
    fs::create_dir(dir.path().join("mysql")).unwrap();
    fs::write(dir.path().join("mysql/db.frm"), "x").unwrap();
    assert!(data.examine("lab").unwrap().interrupted_init);
    data.discard_initialization().unwrap();
    assert_eq!(
        data.examine("lab").unwrap(),
        DataDirContents {
            data: DataState::Empty,
            identity: None,
            interrupted_init: false,
            unfinished_join: false,
        }
    );
    fs::write(dir.path().join("ibdata1"), "x").unwrap();
    assert!(data.begin_initialization().is_err(), "never over data");
}

#[test]
fn a_forgotten_position_keeps_the_history() {
    let dir = directory(&[("grastate.dat", &grastate(UUID, "17"))]);
    let data = DataDir::open(dir.path(), false).unwrap();
    data.forget_position().unwrap();
    let state = data.saved_state().unwrap();
    assert_eq!((state.uuid, state.seqno), (UUID.parse().ok(), None));
    assert_eq!(state.safe_to_bootstrap, Some(false));
}

#[test]
fn i36_a_damaged_view_is_named_and_shows_a_lower_bound() {
    let member = format!("member: {UUID} 0");
    let whole =
        format!("my_uuid: {UUID}\r\n#vwbeg\r\nview_id: 3 {UUID} 4\r\n{member}\r\n#vwend\r\n");
    let garbled = whole.replace("#vwend", "member: x 0\r\n#vwend");
    for (text, count, named) in [
        ("", 0, true),
        (&whole[..whole.len() - 9], 1, true),
        (&garbled, 2, true),
        ("\u{0}\u{0}\u{0}", 0, true),
        (&whole, 1, false),
    ] {
        let dir = directory(&[("grastate.dat", ""), ("gvwstate.dat", text)]);
        let data = DataDir::open(dir.path(), false).unwrap();
        let (seen, remark) = data.members_seen(0).unwrap();
        assert_eq!(seen.count, count, "{text:?}");
        assert_eq!(
            remark.is_some_and(
                |remark| remark.contains("gvwstate.dat is empty, truncated or damaged")
            ),
            named,
            "{text:?}"
        );
    }
    let dir = directory(&[]);
    let data = DataDir::open(dir.path(), false).unwrap();
    let (seen, remark) = data.members_seen(3).unwrap();
    assert_eq!((seen.members(), remark), (Some(3), None));
}

#[test]
fn bootstrapping_keeps_the_position() {
    let dir = directory(&[
        ("grastate.dat", &grastate(UUID, "17")),
        ("gvwstate.dat", ""),
    ]);
    let data = DataDir::open(dir.path(), false).unwrap();
    data.allow_bootstrap().unwrap();
    let state = data.saved_state().unwrap();
    assert_eq!(state.safe_to_bootstrap, Some(true));
    assert_eq!(state.position().unwrap().seqno, 17);
    let aside = data.set_aside_broken_view().unwrap().unwrap();
    assert!(aside.exists() && !dir.path().join("gvwstate.dat").exists());
    assert_eq!(data.set_aside_broken_view().unwrap(), None);
}

#[test]
fn a_damaged_view_that_keeps_no_server_from_starting_is_left_in_place() {
    let view = format!(
        "my_uuid: {UUID}\n#vwbeg\nview_id: 3 {UUID} 4\nmember: {UUID} 0\nmember: x 0\n#vwend\n"
    );
    let dir = directory(&[("grastate.dat", ""), ("gvwstate.dat", &view)]);
    let data = DataDir::open(dir.path(), false).unwrap();
    assert_eq!(data.set_aside_broken_view().unwrap(), None);
    assert!(dir.path().join("gvwstate.dat").exists());
}
