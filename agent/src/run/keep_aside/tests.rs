use super::*;

const DATA: [(&str, &str); 4] = [
    ("ibdata1", "data"),
    ("grastate.dat", "state"),
    ("mysql/user.frm", "table"),
    (".galera-agent.lock", ""),
];

fn variables(method: &str) -> ServerVariables {
    ServerVariables {
        datadir: PathBuf::new(),
        socket: PathBuf::new(),
        port: 3306,
        sst_method: method.to_owned(),
        outside_datadir: Vec::new(),
    }
}

/// A data directory below a temporary one, with the identity `old`.
fn with_data() -> (tempfile::TempDir, DataDir, DataIdentity) {
    let volume = tempfile::tempdir().unwrap();
    let path = volume.path().join("data");
    fs::create_dir_all(path.join("mysql")).unwrap();
    for (name, text) in DATA {
        fs::write(path.join(name), text).unwrap();
    }
    let old = DataIdentity::new("lab").unwrap();
    old.write(&path).unwrap();
    let directory = DataDir::open(&path, false).unwrap();
    (volume, directory, old)
}

fn rest(directory: &DataDir) -> Vec<String> {
    let names = file_names(directory.path()).unwrap();
    names.into_iter().filter(|name| !is_ignored(name)).collect()
}

#[track_caller]
fn assert_kept(directory: &DataDir, kept: &Path, old: &DataIdentity) {
    assert_eq!(rest(directory), Vec::<String>::new());
    for (name, text) in &DATA[..3] {
        assert_eq!(
            fs::read_to_string(kept.join(name)).unwrap(),
            *text,
            "{name}"
        );
    }
    assert_eq!(DataIdentity::read(kept).unwrap().unwrap().id, old.id);
    let fresh = DataIdentity::read(directory.path()).unwrap().unwrap();
    assert_ne!(fresh.id, old.id);
    assert!(!directory.is_keeping());
    let contents = directory.examine("lab").unwrap();
    assert_eq!(contents.data, galera::startup::DataState::Empty);
}

#[test]
fn data_are_kept_beside_the_directory_with_their_identity() {
    let (volume, directory, old) = with_data();
    let method = variables("rsync");
    assert_eq!(directory.keep_obstacle(&method), None);
    assert_eq!(rest(&directory).len(), 3, "a trial changes nothing");
    let fresh = DataIdentity::new("lab").unwrap();
    let kept = directory.keep_aside(&method, &old.id, &fresh).unwrap();
    assert_eq!(
        kept.parent(),
        Some(volume.path().join("data.kept").as_path())
    );
    assert_kept(&directory, &kept, &old);
    assert!(!directory.has_kept_inside());
}

#[test]
fn where_the_parent_is_not_usable_they_are_kept_inside_if_the_transfer_spares_them() {
    let (volume, directory, old) = with_data();
    // Not a directory: nothing can be moved beside the data.
    fs::write(volume.path().join("data.kept"), "").unwrap();
    let obstacle = directory.keep_obstacle(&variables("rsync")).unwrap();
    assert!(obstacle.contains("rsync would delete it"), "{obstacle}");
    let method = variables("mariabackup");
    assert_eq!(directory.keep_obstacle(&method), None);
    let fresh = DataIdentity::new("lab").unwrap();
    let kept = directory.keep_aside(&method, &old.id, &fresh).unwrap();
    assert!(kept.starts_with(directory.path().join(INSIDE)), "{kept:?}");
    assert_kept(&directory, &kept, &old);
    assert!(directory.has_kept_inside());
}

/// The agent may be killed after any step; the next start completes it, once.
#[test]
fn an_interrupted_move_is_completed_at_the_next_start() {
    for moved in 0..=4 {
        let (volume, directory, old) = with_data();
        let kept = volume.path().join("data.kept/then");
        let mark = KeepingMark {
            directory: kept.clone(),
            data_id: old.id.clone(),
        };
        directory.write_mark(&mark).unwrap();
        for name in rest(&directory).into_iter().take(moved) {
            fs::create_dir_all(&kept).unwrap();
            fs::rename(directory.path().join(&name), kept.join(&name)).unwrap();
        }
        if moved == 4 {
            old.write(&kept).unwrap();
            let fresh = DataIdentity::new("lab").unwrap();
            fresh.write(directory.path()).unwrap();
        }
        assert!(directory.is_keeping());
        let contents = directory.examine("lab").unwrap();
        assert_eq!(contents.data, galera::startup::DataState::Empty, "{moved}");
        let fresh = directory.finish_keeping("lab").unwrap().unwrap();
        assert_kept(&directory, &kept, &old);
        assert_eq!(
            DataIdentity::read(directory.path()).unwrap().unwrap(),
            fresh
        );
        assert_eq!(directory.finish_keeping("lab").unwrap(), None);
    }
}

#[test]
fn nothing_is_overwritten_and_a_damaged_mark_is_refused() {
    let (volume, directory, old) = with_data();
    let kept = volume.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("ibdata1"), "other").unwrap();
    let mark = KeepingMark {
        directory: kept.clone(),
        data_id: old.id,
    };
    directory.write_mark(&mark).unwrap();
    let refused = directory.finish_keeping("lab").unwrap_err();
    assert_eq!(refused.exit_code(), 64, "{refused}");
    assert_eq!(fs::read_to_string(kept.join("ibdata1")).unwrap(), "other");
    for damaged in ["", "{", r#"{"directory":"","data_id":"d"}"#] {
        fs::write(directory.path().join(MARK_FILE), damaged).unwrap();
        let refused = directory.finish_keeping("lab").unwrap_err();
        assert_eq!(refused.exit_code(), 64, "{refused}");
    }
}

#[test]
fn obstacles_name_their_remedy_and_change_nothing() {
    let (volume, directory, old) = with_data();
    let mut outside = variables("rsync");
    outside.outside_datadir = vec!["innodb-undo-directory /undo".to_owned()];
    let link = directory.path().join("mysql/far.isl");
    let linked = || {
        fs::write(&link, "/elsewhere/far.ibd").unwrap();
        variables("rsync")
    };
    for (variables, words) in [
        (outside, "innodb-undo-directory /undo lies outside"),
        (linked(), "names data outside"),
    ] {
        let obstacle = directory.keep_obstacle(&variables).unwrap();
        assert!(obstacle.contains(words), "{obstacle}");
        let fresh = DataIdentity::new("lab").unwrap();
        let refused = directory.keep_aside(&variables, &old.id, &fresh);
        assert_eq!(refused.unwrap_err().exit_code(), 69);
        assert!(!directory.is_keeping() && directory.path().join("ibdata1").exists());
    }
    fs::remove_file(link).unwrap();
    for number in 0..KEPT_MAX {
        let kept = volume.path().join(format!("data.kept/{number}"));
        fs::create_dir_all(kept).unwrap();
    }
    let obstacle = directory.keep_obstacle(&variables("rsync")).unwrap();
    assert!(
        obstacle.contains("3 earlier directories are kept already")
            && obstacle.contains("data.kept/0"),
        "{obstacle}"
    );
    // A file that is larger than the volume, without occupying it.
    for number in 0..KEPT_MAX {
        fs::remove_dir(volume.path().join(format!("data.kept/{number}"))).unwrap();
    }
    let large = File::create(directory.path().join("ibdata2")).unwrap();
    large.set_len(1 << 43).unwrap();
    let obstacle = directory.keep_obstacle(&variables("rsync")).unwrap();
    assert!(obstacle.contains("enlarge the volume"), "{obstacle}");
}
