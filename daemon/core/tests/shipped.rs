//! What ships is tested as shipped.

mod common;

#[test]
fn the_shipped_files_compile_and_their_cases_hold() {
    for name in ["booking", "outreach"] {
        let playbook = common::playbook(name);
        assert_eq!(playbook.name, name);
    }
    assert_eq!(common::policy().name(), "default");
}
