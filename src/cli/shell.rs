//! `jitspan completions` and `jitspan man`: what a package installs beside the program.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print, say};

const COMPLETIONS: &str = "\
Examples:
  jitspan completions bash > ~/.local/share/bash-completion/completions/jitspan
  jitspan completions zsh > ~/.zfunc/_jitspan          (with ~/.zfunc in $fpath)
  jitspan completions fish > ~/.config/fish/completions/jitspan.fish

Exit status: 0 printed; 1 it cannot be printed; 2 called wrongly.";

const MAN: &str = "\
Examples:
  jitspan man | man -l -
  jitspan man view > ~/.local/share/man/man1/jitspan-view.1

Exit status: 0 printed; 1 it cannot be printed; 2 called wrongly, or there is no such command.";

/// What the user said to `jitspan completions`.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPLETIONS)]
pub struct CompletionsArguments {
    /// For which shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    pub shell: String,
}

/// What the user said to `jitspan man`.
#[derive(Args, Clone, Debug)]
#[command(after_help = MAN)]
pub struct ManArguments {
    /// Of which command; without it: of the program
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

impl CompletionsArguments {
    /// Prints them. Returns the exit status.
    #[must_use]
    pub fn run(&self) -> u8 {
        let shell = match self.shell.as_str() {
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            _ => Shell::Bash,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "jitspan", &mut text);
        print(&text)
    }
}

impl ManArguments {
    /// Prints it. Returns the exit status.
    #[must_use]
    pub fn run(&self) -> u8 {
        let mut program = Cli::command();
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => match program.find_subcommand(name) {
                Some(command) => command.clone().display_name(format!("jitspan-{name}")),
                None => {
                    say(format_args!("there is no command {name:?} (see `jitspan --help`)"));
                    return super::USAGE;
                }
            },
        };
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = clap_mangen::Man::new(command).render(&mut text);
        print(&text)
    }
}
