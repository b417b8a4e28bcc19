//! A thin pool in the kernel's dm-thin format: pure logic, no I/O.
