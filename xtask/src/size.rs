//! How much flash and memory firmware takes with actors in it, against the budget in `embedded/size.toml`.
//!
//! The package `size` is built in several variants for the smallest board, and the sections of each are added up. What a
//! variant costs is its difference to the empty firmware, or to the one that its line names.

use std::fs;

use crate::firmware::{cargo, target_dir};
use crate::shell::{self, Outcome};

const TARGET: &str = "thumbv6m-none-eabi";
const BUDGET: &str = "embedded/size.toml";

/// The variants: name, features, and what it is compared with.
const VARIANTS: [(&str, &str, &str); 6] = [
    ("empty", "", "empty"),
    ("heap", "heap", "empty"),
    ("one", "one", "empty"),
    ("two", "two", "one"),
    ("timers", "timers", "one"),
    ("supervision", "supervision", "one"),
];

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    flash: u32,
    memory: u32,
}

/// Builds the variants, prints what each takes, and fails if one is above its budget.
pub(crate) fn check() -> Outcome {
    let budget = fs::read_to_string(shell::root().join(BUDGET))
        .map_err(|e| format!("cannot read {BUDGET}: {e}"))?;
    let mut sizes: Vec<(&str, Size)> = Vec::new();
    let mut over = Vec::new();
    println!("{:<12} {:>8} {:>8}   more than", "", "flash", "memory");
    for (name, features, than) in VARIANTS {
        let size = build(features)?;
        let base = sizes.iter().find(|(base, _)| *base == than);
        let base = base.map_or(size, |(_, size)| *size);
        println!(
            "{name:<12} {:>8} {:>8}   {than} by {} and {}",
            size.flash,
            size.memory,
            i64::from(size.flash) - i64::from(base.flash),
            i64::from(size.memory) - i64::from(base.memory),
        );
        let allowed = allowed(&budget, name)?;
        if size.flash > allowed.flash || size.memory > allowed.memory {
            over.push(format!("{name} takes {size:?}, and may take {allowed:?}"));
        }
        sizes.push((name, size));
    }
    match over.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\n(the budget is {BUDGET})", over.join("\n"))),
    }
}

fn build(features: &str) -> Result<Size, String> {
    let mut command = cargo(&format!(
        "build --release --quiet --locked -p size --target {TARGET}"
    ));
    command.arg("--features").arg(features);
    shell::quiet(&mut command)?;
    let path = target_dir().join(TARGET).join("release/size");
    let elf = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    measure(&elf).ok_or_else(|| format!("{} is no 32-bit ELF", path.display()))
}

/// Adds up the sections that are there at run time.
fn measure(elf: &[u8]) -> Option<Size> {
    const NOBITS: u32 = 8;
    const WRITE: u32 = 1;
    const ALLOC: u32 = 2;
    let half = |at: usize| Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    // A 32-bit file, little-endian.
    if !elf.starts_with(b"\x7FELF\x01\x01") {
        return None;
    }
    let (first, each, count) = (word(32)? as usize, half(46)? as usize, half(48)? as usize);
    let mut size = Size {
        flash: 0,
        memory: 0,
    };
    for number in 0..count {
        let at = first + number * each;
        let (kind, flags, bytes) = (word(at + 4)?, word(at + 8)?, word(at + 20)?);
        if flags & ALLOC != 0 && kind != NOBITS {
            size.flash += bytes;
        }
        if flags & ALLOC != 0 && flags & WRITE != 0 {
            size.memory += bytes;
        }
    }
    Some(size)
}

/// The line `name = { flash = N, memory = N }` of the budget.
fn allowed(budget: &str, name: &str) -> Result<Size, String> {
    let line = budget
        .lines()
        .find_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == name));
    let number = |key: &str| {
        let (_, value) = line?;
        let (_, rest) = value.split_once(key)?;
        let digits = rest.trim_start_matches([' ', '=']);
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        digits[..end].parse().ok()
    };
    match (number("flash"), number("memory")) {
        (Some(flash), Some(memory)) => Ok(Size { flash, memory }),
        _ => Err(format!(
            "{BUDGET} has no line `{name} = {{ flash = N, memory = N }}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read() {
        let budget =
            "# bytes\nempty = { flash = 1_0, memory = 2 }\none = { flash = 300, memory = 40 }\n";
        let one = Size {
            flash: 300,
            memory: 40,
        };
        assert_eq!(allowed(budget, "one"), Ok(one));
        assert!(allowed(budget, "two").is_err());
    }

    #[test]
    fn sections_are_added_up() {
        let section = |kind: u32, flags: u32, bytes: u32| {
            let mut header = [0_u32; 10];
            (header[1], header[2], header[5]) = (kind, flags, bytes);
            header.map(u32::to_le_bytes).concat()
        };
        let mut elf = vec![0; 52];
        elf[..6].copy_from_slice(b"\x7FELF\x01\x01");
        elf[32..36].copy_from_slice(&52_u32.to_le_bytes());
        elf[46..48].copy_from_slice(&40_u16.to_le_bytes());
        elf[48..50].copy_from_slice(&4_u16.to_le_bytes());
        // Code, data, zeroed data, and what is for debuggers.
        for (kind, flags, bytes) in [(1, 6, 1000), (1, 3, 20), (8, 3, 300), (1, 0, 9999)] {
            elf.extend(section(kind, flags, bytes));
        }
        let size = Size {
            flash: 1020,
            memory: 320,
        };
        assert_eq!(measure(&elf), Some(size));
        assert_eq!(measure(b"\x7FELF\x02\x01"), None);
    }
}
