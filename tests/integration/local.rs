//! The local run's own errors.

use crate::database;

#[test]
fn a_damaged_data_file_is_named_with_the_way_out() {
    let path = std::env::temp_dir().join(format!("damaged-{}.db", std::process::id()));
    std::fs::write(&path, [7; 5000]).unwrap();
    let error = database::open(&path).err().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("damaged-") && error.contains("delete it"), "{error}");
}

#[test]
fn a_data_file_outlives_its_process() {
    let path = std::env::temp_dir().join(format!("kept-{}.db", std::process::id()));
    for _ in 0..2 {
        assert!(database::open(&path).is_ok());
    }
    std::fs::remove_file(&path).unwrap();
}
