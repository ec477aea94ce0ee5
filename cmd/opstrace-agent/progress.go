package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progressInterval is how often a progress line is drawn anew, and after what
// time for the first time.
const progressInterval = time.Second

const eraseLine = "\r\x1b[K"

// progressLine shows on a terminal how far something is that takes long.
type progressLine struct {
	w    io.Writer // nil: no terminal
	done chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	shown bool
}

// startProgress draws what text returns at every interval, until stop. It does
// nothing unless w is a terminal.
func startProgress(w io.Writer, interval time.Duration, text func() string) *progressLine {
	p := &progressLine{done: make(chan struct{})}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.w = f
	p.wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-ticker.C:
				p.draw(text())
			}
		}
	})
	return p
}

func (p *progressLine) draw(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	fmt.Fprint(p.w, eraseLine+text)
}

// clear makes room for other output; the line comes back at the next interval.
func (p *progressLine) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, eraseLine)
		p.shown = false
	}
}

func (p *progressLine) stop() {
	close(p.done)
	p.wg.Wait()
	p.clear()
}
