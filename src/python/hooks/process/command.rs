//! What a process does, by its command line.

/// What a process is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// It compiles, assembles or links this file, if that could be told.
    Compiles { name: String, source: Option<String> },
    /// It runs compilers where it finds something to do: `ninja`.
    Builds { name: String },
    /// A compiler that is only asked something: `gcc --version`.
    Asked,
    /// Anything else, which may start one of the others.
    Other,
}

/// Compilers, assemblers and linkers. Versions and targets are taken off before: `x86_64-linux-gnu-gcc-12`.
const COMPILERS: [&str; 34] = [
    "amdclang",
    "amdclang++",
    "as",
    "c++",
    "cc",
    "cc1",
    "cc1plus",
    "cicc",
    "clang",
    "clang++",
    "cudafe++",
    "dpcpp",
    "fatbinary",
    "g++",
    "gcc",
    "hipcc",
    "icpx",
    "icx",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "llc",
    "lld",
    "mold",
    "nvc",
    "nvc++",
    "nvcc",
    "nvlink",
    "ocloc",
    "opt",
    "ptxas",
    "ptxas-blackwell",
    "rustc",
];

/// What comes before a compiler, or interprets one that is a script.
const BEFORE: [&str; 16] = [
    "bash", "busybox", "ccache", "dash", "distcc", "env", "icecc", "ionice", "nice", "nohup", "perl", "sccache",
    "setsid", "sh", "time", "zsh",
];

/// Parts of a compiler that are given names of temporary files, and are started by it alone.
const INNER: [&str; 6] = ["cc1", "cc1plus", "cicc", "cudafe++", "fatbinary", "nvlink"];

/// Without these a compiler has nothing to compile.
const SOURCES: [&str; 33] = [
    "S", "a", "asm", "bc", "c", "c++", "cc", "cl", "cpp", "cppm", "cu", "cubin", "cxx", "f", "f90", "fatbin", "hip",
    "i", "ii", "ll", "m", "mlir", "mm", "o", "obj", "ptx", "rs", "s", "so", "spv", "sycl", "ixx", "gpu",
];

/// With one of these it tells something, or does half of the work for somebody who wants to know something.
const QUESTIONS: [&str; 12] = [
    "--version",
    "--help",
    "-###",
    "-E",
    "-M",
    "-MM",
    "--dryrun",
    "-dryrun",
    "-dumpversion",
    "-dumpmachine",
    "-print-search-dirs",
    "-V",
];

/// Options whose value is a file that is not compiled.
const NOT_SOURCES: [&str; 12] =
    ["-o", "--output-file", "-MF", "-MT", "-MQ", "-include", "-imacros", "-T", "-I", "-L", "-isystem", "-iquote"];

/// Reads the words of a command line, the program first.
pub fn read(words: &[String]) -> Command {
    let mut words = words;
    // A few of them may come one before the other: `env nice ccache gcc`.
    for _ in 0..4 {
        let Some((program, arguments)) = words.split_first() else { return Command::Other };
        let name = base(program);
        let known = plain(name);
        if known == "ninja" || known == "ninja-build" {
            return Command::Builds { name: name.to_owned() };
        }
        if COMPILERS.contains(&known) {
            return compiler(name, known, arguments);
        }
        if !BEFORE.contains(&known) && !known.starts_with("python") {
            return Command::Other;
        }
        // A shell's text is not read: what it starts is seen when it runs.
        let next = arguments.iter().position(|word| !word.starts_with('-') && !word.contains('='));
        words = match next {
            Some(next) if arguments.iter().take(next).all(|word| word != "-c" && word != "-m") => {
                arguments.get(next..).unwrap_or_default()
            }
            _ => return Command::Other,
        };
    }
    Command::Other
}

fn compiler(name: &str, known: &str, arguments: &[String]) -> Command {
    if arguments.iter().any(|word| QUESTIONS.contains(&word.as_str())) {
        return Command::Asked;
    }
    let mut sources = Vec::new();
    let mut value_of = "";
    for word in arguments {
        let is_value = NOT_SOURCES.contains(&value_of);
        value_of = word;
        let extension = word.rsplit_once('.').map_or("", |(_, extension)| extension);
        if !is_value && (word.starts_with('@') || (!word.starts_with('-') && SOURCES.contains(&extension))) {
            sources.push(word);
        }
    }
    let has = |option: &str| arguments.iter().any(|word| word == option);
    let from_a_pipe = has("-") && (has("-c") || has("-S") || has("-o"));
    if sources.is_empty() && !from_a_pipe && !(INNER.contains(&known) && arguments.len() > 2) {
        return Command::Asked;
    }
    // An object or a library is linked with what is compiled.
    let object = |word: &str| [".o", ".a", ".so"].iter().any(|end| word.ends_with(end));
    let source = sources.iter().find(|word| !object(word)).or_else(|| sources.first());
    Command::Compiles { name: name.to_owned(), source: source.map(|source| (*source).clone()) }
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// A program's name without its target and its version.
fn plain(name: &str) -> &str {
    let name = name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '.').trim_end_matches('-');
    // Of a target only where a compiler is left: `lld-link` is one, `git-cc` is not looked for.
    match name.rsplit_once('-') {
        Some((target, compiler)) if target.contains('-') && COMPILERS.contains(&compiler) => compiler,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, read};

    fn of(line: &str) -> Command {
        read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn compiles(name: &str, source: &str) -> Command {
        Command::Compiles { name: name.to_owned(), source: (!source.is_empty()).then(|| source.to_owned()) }
    }

    #[test]
    fn a_compiler_with_something_to_compile() {
        assert_eq!(of("/usr/bin/gcc -O2 -c main.c -o main.o"), compiles("gcc", "main.c"));
        assert_eq!(of("x86_64-linux-gnu-g++-12 a.o b.cc -shared"), compiles("x86_64-linux-gnu-g++-12", "b.cc"));
        assert_eq!(of("/triton/bin/ptxas-blackwell k.ptx -o k.cubin"), compiles("ptxas-blackwell", "k.ptx"));
        assert_eq!(of("/triton/bin/ptxas -lineinfo --gpu-name=sm_90 k.ptx -o k.cubin"), compiles("ptxas", "k.ptx"));
        assert_eq!(of("ld.lld -shared k.o -o k.hsaco"), compiles("ld.lld", "k.o"));
        assert_eq!(of("nvcc @arguments.rsp"), compiles("nvcc", "@arguments.rsp"));
        assert_eq!(of("gcc -x c -c - -o x.o"), compiles("gcc", ""));
        assert_eq!(of("clang++-18 k.cpp"), compiles("clang++-18", "k.cpp"));
    }

    #[test]
    fn one_that_is_a_script_or_has_something_before_it() {
        assert_eq!(of("/bin/sh /opt/cuda/bin/nvcc -c k.cu"), compiles("nvcc", "k.cu"));
        assert_eq!(of("env CC=gcc nice ccache g++ -c k.cc"), compiles("g++", "k.cc"));
        assert_eq!(of("python3.12 /venv/bin/ninja -C build"), Command::Builds { name: "ninja".to_owned() });
        // What they start is seen when it runs.
        assert_eq!(of("/bin/sh -c gcc"), Command::Other);
        assert_eq!(of("python -m ninja"), Command::Other);
        assert_eq!(of("nice -n 5 gcc k.c"), Command::Other);
    }

    #[test]
    fn one_that_is_only_asked_something() {
        for line in [
            "gcc --version",
            "gcc",
            "nvcc -V",
            "gcc -Wl,-t -o /tmp/x -lcuda",
            "ld -t -L/lib -o /dev/null -lm",
            "cc -E k.c",
            "gcc -print-file-name=libc.so",
            "gcc -dM -",
        ] {
            assert_eq!(of(line), Command::Asked, "{line}");
        }
    }

    #[test]
    fn another_program() {
        for line in ["", "true", "git-cc a.c", "make -j4", "cmake --build .", "nvidia-smi", "python -c 1"] {
            assert_eq!(of(line), Command::Other, "{line}");
        }
        assert_eq!(read(&[]), Command::Other);
    }
}
