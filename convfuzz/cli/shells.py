"""What bash, zsh and fish run to complete a word, and how they are answered.

Click's own scripts cut a value at its comma (fish), replace ``--option=`` with its value (zsh) or propose none for it (bash, fish), and
add a space behind what is only half of a word, such as the folder of a file.
"""

from __future__ import annotations

import os

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

PART = "part"
"""The type of a proposal that more follows in the same word, so that a shell adds no space behind it."""
_BY_SHELL = ("dir", "file")
"""The types of what the shell proposes itself."""
_BASH = """\
%(complete_func)s() {
    local line type value breaks=$COMP_WORDBREAKS quote=
    [[ ${COMP_WORDS[COMP_CWORD]} == [\\"\\']* ]] && quote=1 breaks=
    while IFS=$'\\t' read -r type value line; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *)
                [[ $type == part ]] && compopt -o nospace
                [[ $value == *' '* && ! $quote ]] && printf -v value %%q "$value"
                COMPREPLY+=("$value")
                ;;
        esac
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS=$breaks %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line type value
    local -a fields whole parts whole_said parts_said
    (( $+commands[%(prog_name)s] )) || return 1
    for line in "${(@f)$(COMP_WORDS="${(j: :)words[1,CURRENT-1]} $PREFIX" %(complete_var)s=zsh_complete %(prog_name)s)}"; do
        fields=("${(@ps:\\t:)line}")
        type=$fields[1] value=$fields[2]
        case $type in
            dir) compset -P '--[a-z-]##='; _path_files -/ ;;
            file) compset -P '--[a-z-]##='; _path_files ;;
            part) parts+=("$value"); parts_said+=("$value${fields[3]:+  -- $fields[3]}") ;;
            plain) whole+=("$value"); whole_said+=("$value${fields[3]:+  -- $fields[3]}") ;;
        esac
    done
    (( $#whole )) && compadd -U -V whole -l -d whole_said -a whole
    (( $#parts )) && compadd -U -V parts -l -S '' -d parts_said -a parts
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
_FISH = """\
function %(complete_func)s
    set -l option (string match --regex -- '^--[a-z-]+=' (commandline -ct))
    for line in (COMP_WORDS=(commandline -cp) %(complete_var)s=fish_complete %(prog_name)s)
        set -l fields (string split \\t -- $line)
        switch $fields[1]
            case dir
                string replace --regex -- '^' "$option" (__fish_complete_directories $fields[2])
            case file
                string replace --regex -- '^' "$option" (__fish_complete_path $fields[2])
            case '*'
                string join \\t -- $fields[2..]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Shell(ShellComplete):
    """A shell that hands over the line up to the cursor, and reads a proposal as a type, a value and perhaps a text, with tabs between."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        is_begun = bool(words) and (not line[-1:].isspace() or line[-2:-1] == "\\")
        return (words[:-1], words[-1]) if is_begun else (words, "")

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return what is proposed for the last word."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("--"):
            for item in found:
                if item.type not in _BY_SHELL:
                    item.value = f"{option}={item.value}"
        return found

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return the line of a proposal."""
        return "\t".join([item.type, item.value, *([" ".join(item.help.split())] if item.help else [])])


class _Bash(_Shell):
    name = "bash"
    source_template = _BASH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return what takes the place of the end of the last word: bash breaks one behind a colon or ``=``, and before ``@``."""
        found = super().get_completions(args, incomplete)
        breaks = os.environ.get("COMP_BREAKS", "")
        begun = max([0, *(incomplete.rfind(c) + (c != "@") for c in ":=@" if c in breaks)])
        for item in found:
            if item.type not in _BY_SHELL:
                item.value = item.value[begun:]
        return found


class _Zsh(_Shell):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Shell):
    name = "fish"
    source_template = _FISH


SHELLS: dict[str, type[ShellComplete]] = {kind.name: kind for kind in (_Bash, _Zsh, _Fish)}


def answer_shells() -> None:
    """Have Click answer these shells in our way."""
    for kind in SHELLS.values():
        add_completion_class(kind)
