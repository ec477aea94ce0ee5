package scrapeconfig

import (
	"fmt"
	"strings"
)

// Error says what is wrong with a configuration, where, and what to do.
type Error struct {
	File string // the file that is wrong: the main one or one of scrape_config_files
	Line int    // counted from 1; 0 if the error has no place in the file
	Msg  string
	Hint string // one sentence without a full stop; may be empty
	Err  error  // what Msg was made from; nil if the refusal is this package's own
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
		if e.Line > 0 {
			fmt.Fprintf(&b, "%d:", e.Line)
		}
		b.WriteString(" ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }
