//! The file: full, taken, newer, tampered with, damaged.

use proptest::prelude::*;

use super::super::chain::Wrong;
use super::*;

#[test]
fn a_full_disk_is_answered_not_durable_and_what_may_wait_comes_later() {
    let place = Place::new();
    let options = Options {
        max_pages: Some(60),
        ..Options::default()
    };
    let (store, _, answers) = place.open_with(&options);
    write_all(&store, [birth(CALL)]);
    let mut number = 0;
    let refused = loop {
        number += 1;
        store.write(commit(CALL, number, "a", false)).unwrap();
        if !answers.recv_timeout(SOON).unwrap().durable {
            break number;
        }
    };
    assert!(refused > 10);
    assert!(store.health().failing.unwrap().contains("full"));
    store.write(commit(CALL, refused + 1, "a", false)).unwrap();
    assert!(!answers.recv_timeout(SOON).unwrap().durable);
    store.write(over(CALL)).unwrap();
    // Room again: give the old rows away from outside.
    let raw = place.raw();
    raw.busy_timeout(SOON).unwrap();
    raw.execute_batch("DELETE FROM outbox WHERE number > 3; PRAGMA incremental_vacuum;")
        .unwrap();
    while store.health().failing.is_some() {
        std::thread::sleep(Duration::from_millis(10));
    }
    store.close();
    let reader = place.reader();
    let outcomes = reader.outbox_of(CALL).unwrap();
    assert_eq!(
        outcomes.iter().filter(|row| row.kind == "outcome").count(),
        1
    );
    let refused_id = action(CALL, refused).to_string();
    assert!(outcomes.iter().all(|row| row.id != refused_id));
    let decided = reader.decisions(CALL).unwrap();
    assert!(decided.iter().any(|record| record.action.number == refused));
    assert!(reader.verify().unwrap().is_ok());
}

#[test]
fn two_daemons_cannot_share_a_file() {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    let second = Store::open(&place.file(), &Options::default(), |_| {});
    assert!(matches!(second, Err(StoreError::InUse(_))));
    store.close();
    place.open();
}

#[test]
fn a_file_of_a_newer_release_is_left_alone() {
    let place = Place::new();
    place.open().0.close();
    place.raw().execute_batch("PRAGMA user_version=9").unwrap();
    let opened = Store::open(&place.file(), &Options::default(), |_| {});
    assert!(matches!(opened, Err(StoreError::Newer(_, 9))));
}

/// Three calls with everything in them, closed.
fn three_calls() -> Place {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    for id in 1..=3 {
        let conversation = ConversationId(id);
        write_all(
            &store,
            [
                birth(conversation),
                commit(conversation, 1, "a", false),
                over(conversation),
            ],
        );
    }
    store.close();
    place
}

fn fault(place: &Place) -> Option<chain::Fault> {
    place.reader().verify().unwrap().err()
}

#[test]
fn a_row_that_is_deleted_or_moved_breaks_the_chain_where_it_was() {
    let place = three_calls();
    assert_eq!(fault(&place), None);
    let raw = place.raw();
    let undone = |sql: &str| {
        raw.execute_batch("SAVEPOINT tamper").unwrap();
        raw.execute_batch(sql).unwrap();
        let fault = chain::verify(&raw, chain::Head::default()).unwrap().err();
        raw.execute_batch("ROLLBACK TO tamper; RELEASE tamper")
            .unwrap();
        fault.map(|fault| (fault.seq, fault.wrong))
    };
    assert_eq!(
        undone("DELETE FROM audit WHERE seq = 5"),
        Some((6, Wrong::Hash))
    );
    let last = "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)";
    assert_eq!(undone(last).map(|fault| fault.1), Some(Wrong::End));
    let swap = "UPDATE audit SET seq = -5 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 6;
                UPDATE audit SET seq = 6 WHERE seq = -5";
    assert_eq!(undone(swap).map(|fault| fault.0), Some(5));
    let wipe = "UPDATE audit SET payload = NULL WHERE seq = 3";
    assert_eq!(undone(wipe), Some((3, Wrong::HalfForgotten)));
    assert_eq!(undone("SELECT 1"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_of_a_row_is_found_at_that_row(
        seq in 1i64..=15, column in 0usize..5, place_in in any::<prop::sample::Index>(), flip in 1u8..=255,
    ) {
        thread_local!(static CALLS: Place = three_calls());
        CALLS.with(|place| {
            let raw = place.raw();
            raw.execute_batch("SAVEPOINT tamper").unwrap();
            let (get, set) = [
                ("SELECT payload FROM audit WHERE seq = ?1", "UPDATE audit SET payload = ?2 WHERE seq = ?1"),
                ("SELECT digest FROM audit WHERE seq = ?1", "UPDATE audit SET digest = ?2 WHERE seq = ?1"),
                ("SELECT hash FROM audit WHERE seq = ?1", "UPDATE audit SET hash = ?2 WHERE seq = ?1"),
                ("SELECT CAST(kind AS BLOB) FROM audit WHERE seq = ?1", "UPDATE audit SET kind = CAST(?2 AS TEXT) WHERE seq = ?1"),
                ("SELECT salt FROM salts WHERE conversation = (SELECT conversation FROM audit WHERE seq = ?1)",
                 "UPDATE salts SET salt = ?2 WHERE conversation = (SELECT conversation FROM audit WHERE seq = ?1)"),
            ][column];
            let mut bytes: Vec<u8> = raw.query_row(get, [seq], |row| row.get(0)).unwrap();
            let at = place_in.index(bytes.len());
            bytes[at] ^= flip;
            raw.execute(set, rusqlite::params![seq, bytes]).unwrap();
            let found = chain::verify(&raw, chain::Head::default()).unwrap().err();
            raw.execute_batch("ROLLBACK TO tamper; RELEASE tamper").unwrap();
            let found = found.expect("the change is found");
            // A salt belongs to all rows of its call: the first of them shows it.
            prop_assert!(found.seq == u64::try_from(seq).unwrap() || column == 4);
            Ok(())
        })?;
    }
}

/// Overwrites the file at a page.
fn scribble(place: &Place, page: u64, pages: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(place.file())
        .unwrap();
    let zeroes = vec![0u8; usize::try_from(pages * 4096).unwrap()];
    file.write_all_at(&zeroes, page * 4096).unwrap();
}

#[test]
fn a_file_without_its_header_is_set_aside_and_a_new_one_begun() {
    let place = three_calls();
    scribble(&place, 0, 1);
    let (store, recovery, answers) = place.open();
    let salvage = recovery.salvage.unwrap();
    assert_eq!(salvage.rows, 0);
    assert!(salvage.aside.exists(), "never deleted");
    assert!(store.health().salvaged);
    half_a_call(&store, &answers);
    store.close();
    assert_eq!(fault(&place), None);
}

#[test]
fn a_damaged_page_costs_its_rows_and_nothing_else() {
    let place = Place::new();
    let (store, _, _answers) = place.open();
    for id in 1..=400 {
        let conversation = ConversationId(id);
        let lead = format!("lead {id}");
        write_all(
            &store,
            [
                birth(conversation),
                commit(conversation, 1, &lead, id % 2 == 0),
                over(conversation),
            ],
        );
    }
    store.close();
    let leaf: u32 = place
        .raw()
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'audit' AND pagetype = 'leaf' LIMIT 1 OFFSET 20",
            [],
            |row| row.get(0),
        )
        .unwrap_or(60);
    scribble(&place, u64::from(leaf) - 1, 1);
    let (store, recovery, _answers) = place.open();
    store.close();
    let salvage = recovery.salvage.unwrap();
    assert!(salvage.rows > 2100 && salvage.gaps >= 1, "{salvage:?}");
    assert_eq!(salvage.damaged, 0, "{salvage:?}");
    assert_eq!(fault(&place), None);
    let counts = place.reader().counts().unwrap();
    assert_eq!(counts.pending + counts.dead, 800, "{counts:?}");
    assert!((1..20).contains(&counts.dead), "{counts:?}");
    // Nothing more to salvage at the next start.
    assert!(place.open().1.salvage.is_none());
}

#[test]
fn an_action_whose_bytes_changed_is_never_sent() {
    let place = three_calls();
    let change = "UPDATE audit SET payload = CAST(replace(CAST(payload AS TEXT), 'tuesday', 'tuesdax') AS BLOB)
                  WHERE kind = 'action' AND conversation = 2";
    assert_eq!(place.raw().execute(change, []).unwrap(), 1);
    let reader = place.reader();
    let due = reader.heads_of_line(9).unwrap();
    assert!(due[0].payload.is_some());
    let (store, recovery, _answers) = place.open();
    store.close();
    assert_eq!(recovery.salvage.unwrap().damaged, 1);
    let counts = place.reader().counts().unwrap();
    assert_eq!((counts.dead, counts.pending), (1, 5));
    assert_eq!(fault(&place), None);
}
