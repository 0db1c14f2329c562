//! Tests of fits as a whole.

mod agreement;
mod ahead;
mod campaign;
mod compare;
mod device_faults;
mod disk_faults;
mod drawn;
mod golden;
mod hot_paths;
mod inject;
mod inject_statistics;
mod kernel_campaigns;
mod machine_faults;
mod network_faults;
mod prune;
mod robust;
mod scenario;
mod stats_process;
mod vm;
mod vm_campaign;
mod vm_devices;
mod vm_qmp_faults;
mod vm_snapshot;
