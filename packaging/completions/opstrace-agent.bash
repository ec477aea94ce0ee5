# bash completion for opstrace-agent: the program itself knows its commands and flags.

_opstrace_agent() {
    # bash has --flag=value as three words, the program has it as two.
    local words=() word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [ "$word" = = ] || words+=("$word")
    done
    word=${COMP_WORDS[COMP_CWORD]}
    [ "$word" != = ] || word=
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]/#~/$HOME}" --completion-bash "${words[@]}" "$word" 2> /dev/null)
}
complete -F _opstrace_agent -o default opstrace-agent
