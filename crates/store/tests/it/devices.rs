//! A pool on block devices.

use crate::{
    judge::{Judges, check_image},
    support::{BLOCK, params, read, volume},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};
use umbra_base::ErrorCode;
use umbra_store::{Extend, LunStore, ThinId, ThinPoolStore, backing::Backing};

/// A loop device; gone when dropped.
struct Loop(PathBuf);

impl Loop {
    fn of(file: &Path, bytes: u64) -> Loop {
        File::create(file).unwrap().set_len(bytes).unwrap();
        let out = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(out.status.success(), "losetup: {}", String::from_utf8_lossy(&out.stderr));
        let device = Loop(PathBuf::from(String::from_utf8(out.stdout).unwrap().trim()));
        // A device keeps the read-only mark that an earlier user of its number gave it.
        let status = Command::new("blockdev").arg("--setrw").arg(&device.0).status();
        assert!(status.unwrap().success());
        device
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let status = Command::new("losetup").arg("--detach").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_pool_lives_on_devices_that_nobody_else_uses_and_that_cannot_grow() {
    let dir = tempfile::tempdir().unwrap();
    let meta = Loop::of(&dir.path().join("meta"), 8 << 20);
    let data = Loop::of(&dir.path().join("data"), 16 << 20);
    let log = dir.path().join("pool.log");
    let on = || {
        let mut wish = params();
        wish.data_bytes = 16 << 20;
        ThinPoolStore::on(Backing::at(&meta.0, &data.0, &log)?, wish)
    };
    // What lay there before is not taken for zeroes.
    fs::write(&data.0, vec![0xAB; 1 << 20]).unwrap();
    let store = on().unwrap();
    store.create(ThinId(1)).unwrap();
    let volume = volume(&store, 1);
    volume.write(512, &[7; 512]).unwrap();
    assert_eq!(read(&volume, 0, 1536), [[0; 512], [7; 512], [0; 512]].concat());
    let second = on().unwrap_err();
    assert_eq!(second.code(), ErrorCode::Io, "{second}");
    let larger = Extend { data_bytes: Some(32 << 20), ..Extend::default() };
    assert!(store.extend(larger).unwrap_err().chain().contains("cannot be made larger"));
    volume.discard(0, BLOCK).unwrap();
    store.close().unwrap();
    drop((volume, store));
    check_image(fs::read(&meta.0).unwrap(), Judges::AlsoThinCheck, 0);
    assert_eq!(on().unwrap().device_ids().unwrap(), [ThinId(1)]);
}
