//! The page with the results of the modules.

use std::collections::BTreeSet;

const MODULES: &str = include_str!("../../data/openid_rp_modules.txt");
const PAGE: &str = include_str!("../../../src/docs/reference/openid_modules.md");
const TESTS: [&str; 3] =
    [include_str!("id_tokens.rs"), include_str!("logouts.rs"), include_str!("refreshes.rs")];

#[test]
fn every_module_has_a_row_and_a_test_or_a_reason() {
    let modules: BTreeSet<_> =
        MODULES.lines().skip(1).map(|module| module.replace('-', "_")).collect();
    assert!(modules.len() > 50, "{}", modules.len());
    let (mut rows, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for row in PAGE.lines().filter(|line| line.starts_with("| `oidcc-")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [module, result, reason] = cells[..] else { panic!("{row}") };
        let module = module.trim_matches('`').replace('-', "_");
        assert!(reason.len() > 3, "{row}");
        match result {
            "passed" | "skipped" => assert!(tested.insert(module.clone()), "{row}"),
            "not applicable" => {}
            _ => panic!("{row}"),
        }
        assert!(rows.insert(module), "{row} is repeated");
    }
    assert_eq!(rows, modules);
    let tests = TESTS.iter().flat_map(|file| file.split("#[tokio::test]\nasync fn ").skip(1));
    let tests = tests.map(|test| test.split('(').next().unwrap().to_owned());
    assert_eq!(tests.collect::<BTreeSet<_>>(), tested);
}
