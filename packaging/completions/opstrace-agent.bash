# bash completion for opstrace-agent: the program itself knows its commands and flags.

_opstrace_agent() {
    local cur=${COMP_WORDS[COMP_CWORD]} words
    words=$("${COMP_WORDS[0]}" --completion-bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _opstrace_agent -o default opstrace-agent
