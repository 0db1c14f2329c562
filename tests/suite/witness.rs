//! What `tests/guests/fault_witness.S` writes: all its registers and some memory, by name.

/// Name, offset in the output, bytes.
type Field = (String, usize, usize);

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// How long the output is.
pub(crate) const LENGTH: usize = 2920;

fn fields() -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    let mut at = 0;
    let mut add = |name: String, bytes: usize| {
        fields.push((name, at, bytes));
        at += bytes;
    };
    for name in GENERAL {
        add(name.to_owned(), 8);
    }
    for name in ["rflags", "fs_base", "gs_base", "mxcsr"] {
        add(name.to_owned(), 8);
    }
    let several = [
        ("st", 8, 16),
        ("k", 8, 8),
        ("zmm", 32, 64),
        ("table", 32, 8),
        ("stack", 32, 8),
    ];
    for (name, count, bytes) in several {
        for number in 0..count {
            add(format!("{name}{number}"), bytes);
        }
    }
    add("path".to_owned(), 8);
    fields
}

/// Which fields differ, and how: `rax:0x8 table3:0xff`.
pub(crate) fn difference(golden: &[u8], faulty: &[u8]) -> String {
    if golden.len() != LENGTH || faulty.len() != LENGTH {
        return format!("{} and {} bytes of output", golden.len(), faulty.len());
    }
    let mut all = Vec::new();
    for (name, at, bytes) in fields() {
        let pairs = golden[at..at + bytes].iter().zip(&faulty[at..at + bytes]);
        let mask: Vec<u8> = pairs.map(|(left, right)| left ^ right).collect();
        let digits: String = mask
            .iter()
            .rev()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let digits = digits.trim_start_matches('0');
        if !digits.is_empty() {
            all.push(format!("{name}:0x{digits}"));
        }
    }
    all.join(" ")
}

/// What a field holds, little-endian.
pub(crate) fn field(output: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let found = fields().into_iter().find(|field| field.0 == name);
    let (_, at, bytes) = found.ok_or_else(|| format!("the witness writes no {name}"))?;
    let content = output.get(at..at + bytes);
    content
        .map(<[u8]>::to_vec)
        .ok_or_else(|| "the output is cut off".to_owned())
}
