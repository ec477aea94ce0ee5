package main

import "time"

// stableFor is how long a changed file must stay as it is before it is read: it
// may be a part of what is being written.
const stableFor = time.Second

// sight is what one look at the configuration's files tells.
type sight int

const (
	unchanged sight = iota
	unstable        // look again soon
	ready           // to be loaded
)

// watchedFile decides when a changed configuration is loaded. Contents are told
// apart by their checksums.
type watchedFile struct {
	inForce  string
	seen     string // at the look before
	refused  bool   // the last load of it
	differed bool   // from inForce, when somebody asked last
}

func watch(inForce string) watchedFile { return watchedFile{inForce: inForce, seen: inForce} }

// look tells what to do about the content that is there now. After a refusal, what
// is there is loaded each time: what was wrong may have been another file that it
// names, and where the content in force is back, that it is good must be said.
func (w *watchedFile) look(content string) sight {
	switch {
	case content == w.inForce && !w.refused:
		w.seen = content
		return unchanged
	case content != w.seen:
		w.seen = content
		return unstable
	}
	return ready
}

// differs reports whether the content that is there now is not the one in force, nor
// was what was there when this was asked before: a file may be about to be loaded.
func (w *watchedFile) differs(content string) bool {
	before := w.differed
	w.differed = content != w.inForce
	return before && w.differed
}

// loaded says what became of a content that was loaded, whoever asked for it.
func (w *watchedFile) loaded(content string, err error) {
	w.seen, w.refused = content, err != nil
	if err == nil {
		w.inForce = content
	}
}
