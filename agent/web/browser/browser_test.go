//go:build browser

package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const patience = 30 * time.Second

// tab is a page in Chromium, and everything it complained about and asked for.
type tab struct {
	ctx context.Context

	mtx        sync.Mutex
	complaints []string
	hosts      map[string]int
}

func newTab(t *testing.T) *tab {
	t.Helper()
	opts := append([]chromedp.ExecAllocatorOption{},
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.UserDataDir(profile(t)))
	if program := os.Getenv("CHROMIUM"); program != "" {
		opts = append(opts, chromedp.ExecPath(program))
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancelAllocator)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		// Closes the browser and waits for it.
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("cannot close the browser: %v", err)
		}
		cancel()
	})
	b := &tab{ctx: ctx, hosts: map[string]int{}}
	chromedp.ListenTarget(ctx, b.listen)
	b.run(t, "start", network.Enable(), runtime.Enable(), cdplog.Enable())
	return b
}

// profile is a directory that goes when all of the browser's processes have
// stopped writing to it, which is a moment after the browser has ended.
func profile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "page-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		await(t, "the browser's profile can be removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

func (b *tab) listen(event any) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil {
			b.hosts[u.Host]++
		}
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s in %s", e.Type, e.Context))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Error())
	case *cdplog.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

func (b *tab) run(t *testing.T, what string, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	if b.ctx == nil || chromedp.FromContext(b.ctx).Browser == nil {
		// The first run starts the browser, which ends with its context.
		cancel()
		ctx, cancel = b.ctx, func() {}
	}
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// until waits for an expression to become true in the page, whichever page that
// is by then.
func (b *tab) until(t *testing.T, what, expression string) {
	t.Helper()
	await(t, what, func() bool {
		var is bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate(expression, &is)) // an error while a page goes
		return err == nil && is
	})
}

func (b *tab) text(t *testing.T, selector string) (text string) {
	t.Helper()
	b.run(t, selector, chromedp.Text(selector, &text, chromedp.ByQuery))
	return text
}

// quiet fails the test if the page complained, or asked any host but its own.
func (b *tab) quiet(t *testing.T, host string) {
	t.Helper()
	b.mtx.Lock()
	defer b.mtx.Unlock()
	for _, c := range b.complaints {
		t.Errorf("the browser says: %s", c)
	}
	for h, n := range b.hosts {
		if h != host {
			t.Errorf("%d requests to %q", n, h)
		}
	}
	if b.hosts[host] == 0 {
		t.Error("no request was seen at all")
	}
}

// pictures shows the page as it is on a desk and in a hand, by day and by night.
func (b *tab) pictures(t *testing.T, name, address string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	for _, width := range widths {
		for _, scheme := range []string{"light", "dark"} {
			b.picture(t, filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), width, scheme, address, true)
		}
	}
	b.run(t, "back to the desk", chromedp.EmulateViewport(widths[0], height))
}

func (b *tab) picture(t *testing.T, file string, width int64, scheme, address string, whole bool) {
	t.Helper()
	var png []byte
	var take chromedp.Action = chromedp.CaptureScreenshot(&png)
	if whole {
		take = chromedp.FullScreenshot(&png, 100)
	}
	b.run(t, "picture", chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.Navigate(address), take)
	if err := os.WriteFile(file, png, 0o640); err != nil {
		t.Fatal(err)
	}
}

// A desk and a hand, in CSS pixels.
var widths = []int64{1280, 390}

const height = 900

// fits fails the test if the page at an address, with everything opened and an endless
// word in its headline, can be scrolled sideways, or if the headline lies over what is
// beside it, and names what sticks out.
func (b *tab) fits(t *testing.T, address string) {
	t.Helper()
	for _, width := range widths {
		var wide []string
		b.run(t, "look at the width", chromedp.EmulateViewport(width, height), chromedp.Navigate(address),
			chromedp.Evaluate(`document.querySelectorAll('details').forEach((d) => { d.open = true; });
				document.querySelector('#verdict h1').textContent = 'Post "https://' + 'x'.repeat(200) + '"'`, nil),
			chromedp.Evaluate(`document.querySelector('#verdict .says').getBoundingClientRect().right >= document.querySelector('#verdict h1').scrollWidth
				+ document.querySelector('#verdict h1').getBoundingClientRect().left && document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]
				.filter((e) => e.getBoundingClientRect().right > innerWidth && ![...e.children].some((c) => c.getBoundingClientRect().right > innerWidth))
				.slice(0, 3).map((e) => e.tagName + '.' + e.className + ' in ' + e.parentElement.className + ': ' + e.textContent.trim().slice(0, 60)).concat('the page')`, &wide))
		for _, what := range wide {
			t.Errorf("%s is wider than %d pixels: %s", address, width, what)
		}
	}
	b.run(t, "back to the desk", chromedp.EmulateViewport(widths[0], height))
}

func TestPage(t *testing.T) {
	w := newWorld(t)
	b := newTab(t)
	page := w.address + "/"

	b.run(t, "open", chromedp.Navigate(page))
	for name, state := range map[string]string{"site-live": "live.good", "site-behind": "behind.warn", "site-failing": "behind.bad"} {
		state, level, _ := strings.Cut(state, ".")
		b.until(t, name+" is "+state, fmt.Sprintf(`document.querySelector('.%s[data-destination="%s"][data-state="%s"] .pill')?.checkVisibility()`, level, name, state))
	}
	if got := b.text(t, "#verdict h1"); !strings.HasPrefix(got, "site-failing takes nothing") || !strings.Contains(got, ": server returned HTTP status 401") {
		t.Errorf("the verdict: %s", got)
	}
	if got := b.text(t, `[data-destination="site-failing"] .words pre`); !strings.Contains(got, "401") || !strings.Contains(got, "bad authentication token") {
		t.Errorf("the endpoint's words: %s", got)
	}
	b.until(t, "the first pool has the target that is down", `document.querySelector('.pool').dataset.pool === 'broken' && document.querySelector('.pool').open`)
	b.until(t, "healthy pools are closed", `document.querySelector('[data-pool="fleet"]').open === false`)
	b.until(t, "labels are text", fmt.Sprintf(`[...document.querySelectorAll('[data-pool="broken"] .label')].some((l) => l.textContent === %q)`, "note"+hostileLabel))

	t.Run("what the page says at once", func(t *testing.T) {
		b.until(t, "rates", `[...document.querySelectorAll('.figures dd')].every((d) => d.textContent !== '–')`)
		b.until(t, "curves from the left edge to the right one", `(() => { const p = document.querySelector('.curve.in polyline').points; return p[0].x === 0 && p[p.length - 1].x === 120; })()`)
		b.until(t, "samples of a target", `/^[0-9]+$/.test(document.querySelector('[data-pool="fleet"] [data-name=samples]').textContent)`)
		b.until(t, "bytes of a target", `/^[0-9.]+ [KM]?i?B$/.test(document.querySelector('[data-pool="fleet"] [data-name=bytes]').textContent)`)
		b.until(t, "how long an outage is bridged", `document.querySelector('.storage [data-name=bridges]').textContent === 'not known yet'`)
	})
	t.Run("widths", func(t *testing.T) {
		for _, query := range []string{"", "?state=down", "?state=dropped", "?q=long", "?pool=" + longName, "?state=dropped&pool=" + longName} {
			b.fits(t, page+query)
		}
		var target string
		b.run(t, "open", chromedp.Navigate(page+"?pool="+longName), chromedp.AttributeValue(".rows a.url", "href", &target, nil, chromedp.ByQuery))
		b.fits(t, page+target)
		b.run(t, "open", chromedp.Navigate(page))
	})
	t.Run("key", func(t *testing.T) {
		b.until(t, "the filter has no focus", `document.activeElement === document.body`)
		b.press(t, "/")
		b.until(t, "the filter has it, without the key's letter", `document.activeElement.name === 'q' && document.activeElement.value === ''`)
		b.press(t, "/")
		b.until(t, "a slash can be typed there", `document.activeElement.value === '/'`)
		b.run(t, "open", chromedp.Navigate(page))
	})
	t.Run("filter", func(t *testing.T) {
		b.run(t, "type", chromedp.SendKeys("#filter input[type=search]", "T-07", chromedp.ByQuery))
		b.until(t, "one target is left", `document.querySelectorAll('.rows tbody tr').length === 1 && document.querySelector('.rows .url').textContent.includes('/t-07/')`)
		b.until(t, "the address says so", `location.search === '?q=T-07'`)
		b.run(t, "clear", chromedp.Evaluate(`(() => { const i = document.querySelector('#filter input[type=search]'); i.value = ''; i.dispatchEvent(new Event('input', {bubbles: true})); })()`, nil))
		b.until(t, "all pools are back", `document.querySelectorAll('.pool').length === 3`)
		b.run(t, "click", chromedp.Click(`.states a.bad`, chromedp.ByQuery))
		b.until(t, "only what is down", `document.querySelectorAll('.rows tbody tr').length === 2 && document.querySelectorAll('.rows tr.down').length === 2`)
	})
	t.Run("explain", func(t *testing.T) {
		b.run(t, "click", chromedp.Click(`.rows tr.down a.url`, chromedp.ByQuery))
		b.until(t, "the steps are there", `document.querySelectorAll('#target .steps li').length === 2 && document.querySelector('#target .steps p.added').textContent.includes('rack-9')`)
		b.pictures(t, "target", w.address+"/?"+b.search(t))
		b.run(t, "open", chromedp.Navigate(page+"?q=t-07"), chromedp.Click(`.rows a.url`, chromedp.ByQuery), chromedp.Click(`#target a.exposition`, chromedp.ByQuery))
		b.until(t, "its answer is there, as text", `document.contentType === 'text/plain' && document.body.textContent.includes('/t/t-07/metrics answered just now: HTTP 200 OK')`)
	})
	t.Run("refresh", func(t *testing.T) {
		b.run(t, "open", chromedp.Navigate(page), chromedp.Click(`[data-pool="fleet"] summary`, chromedp.ByQuery))
		b.run(t, "mark", chromedp.Evaluate(`window.same = true`, nil))
		b.pictures(t, "failing", page)
		b.run(t, "open", chromedp.Navigate(page), chromedp.Click(`[data-pool="fleet"] summary`, chromedp.ByQuery), chromedp.Evaluate(`window.same = true`, nil))
		w.mendFailing()
		b.until(t, "the page follows without being loaded again", `!document.querySelector('[data-destination="site-failing"]').classList.contains('bad') && window.same`)
		b.until(t, "what was opened stays open", `document.querySelector('[data-pool="fleet"]').open`)
		b.pictures(t, "behind", page)
	})
	t.Run("without scripts", func(t *testing.T) {
		b.run(t, "open", emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(page+"?q=t-07"))
		var urls string
		b.run(t, "read", chromedp.Text(".rows tbody", &urls, chromedp.ByQuery))
		if !strings.Contains(urls, "/t-07/") || strings.Contains(urls, "/t-08/") {
			t.Errorf("filtered by the server: %s", urls)
		}
		b.run(t, "enable", emulation.SetScriptExecutionDisabled(false))
	})
	b.quiet(t, strings.TrimPrefix(w.address, "http://"))

	t.Run("silence", func(t *testing.T) {
		b.run(t, "open", chromedp.Navigate(page))
		w.stopServer()
		b.until(t, "the page says that nobody answers", `document.getElementById('silence').checkVisibility()`)
	})
}

// press a key that writes a letter. Unlike chromedp's events, this writes nothing if
// the page prevents it.
func (b *tab) press(t *testing.T, key string) {
	t.Helper()
	b.run(t, "press "+key, input.DispatchKeyEvent(input.KeyDown).WithKey(key).WithText(key), input.DispatchKeyEvent(input.KeyUp).WithKey(key))
}

func (b *tab) search(t *testing.T) (query string) {
	t.Helper()
	b.run(t, "location", chromedp.Evaluate(`location.search.slice(1)`, &query))
	return query
}
