package web

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

const (
	pageSize = 100 // rows of a list
	// Without a filter the page shows all pools, and of each the first rows.
	poolPreview = 20
	maxPreview  = 200
	// fewTargets are shown with all pools open.
	fewTargets = 12
)

// query is what the page was asked for.
type query struct {
	Text   string // words that must all occur
	State  string // "", up, down, unknown or dropped
	Pool   string
	Page   int    // from 1
	Target string // the ID of the target to explain
}

func parseQuery(v url.Values) query {
	q := query{
		Text: strings.TrimSpace(v.Get("q")), State: v.Get("state"), Pool: v.Get("pool"), Target: v.Get("target"),
	}
	q.Page, _ = strconv.Atoi(v.Get("page"))
	q.Page = max(1, q.Page)
	if !slices.Contains([]string{"up", "down", "unknown", "dropped"}, q.State) {
		q.State = ""
	}
	return q
}

// link leads to the same page with other parameters.
func (q query) link() string {
	v := url.Values{}
	for name, value := range map[string]string{"q": q.Text, "state": q.State, "pool": q.Pool, "target": q.Target} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Page > 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	return "?" + v.Encode()
}

// With… are for links in the template.
func (q query) WithState(state string) string {
	q.State, q.Page, q.Target = state, 1, ""
	return q.link()
}
func (q query) WithPool(pool string) string { q.Pool, q.Page, q.Target = pool, 1, ""; return q.link() }
func (q query) WithPage(page int) string    { q.Page, q.Target = page, ""; return q.link() }
func (q query) WithTarget(id string) string { q.Target = id; return q.link() }

// Dropped leads to the dropped targets of a pool.
func (q query) Dropped(pool string) string { return query{State: "dropped", Pool: pool}.link() }

// OfPool leads to the targets of a pool.
func (q query) OfPool(pool string) string { return query{Pool: pool}.link() }

// Filtered reports whether the targets are a list instead of an overview.
func (q query) Filtered() bool { return q.Text != "" || q.State != "" || q.Pool != "" }

// targetCounts are over all pools, or one.
type targetCounts struct {
	Up, Down, Unknown, Dropped int
}

// Active targets are those that are scraped.
func (c targetCounts) Active() int { return c.Up + c.Down + c.Unknown }

// Found by service discovery.
func (c targetCounts) Found() int { return c.Active() + c.Dropped }

func (c *targetCounts) add(h scrape.TargetHealth, n int) {
	switch h {
	case scrape.HealthGood:
		c.Up += n
	case scrape.HealthBad:
		c.Down += n
	default:
		c.Unknown += n
	}
}

// candidate is a target before it is known whether it will be shown.
type candidate struct {
	pool   string
	url    string
	health scrape.TargetHealth // "dropped" for one that relabelling dropped
	target *scrape.Target
}

const dropped scrape.TargetHealth = "dropped"

// healthRank orders by what needs attention.
func healthRank(h scrape.TargetHealth) int {
	return slices.Index([]scrape.TargetHealth{scrape.HealthBad, scrape.HealthUnknown, scrape.HealthGood, dropped}, h)
}

// targetSet is what the scrape manager knows at one moment.
type targetSet struct {
	pools   []string
	active  map[string][]*scrape.Target
	dropped map[string][]*scrape.Target
	// droppedCounts is right where keep_dropped_targets shortens dropped.
	droppedCounts map[string]int
}

func currentTargets(m *scrape.Manager) targetSet {
	if m == nil {
		return targetSet{}
	}
	return targetSet{m.ScrapePools(), m.TargetsActive(), m.TargetsDropped(), m.TargetsDroppedCounts()}
}

// poolView is a scrape pool with those of its targets that are shown.
type poolView struct {
	Name   string
	Counts targetCounts // of the whole pool, whatever is shown
	Open   bool
	Rows   []targetRow
	More   int // rows left out of the overview
}

// targetRow is a target as the page shows it.
type targetRow struct {
	ID       string
	URL      string
	Health   string
	Labels   []labels.Label
	Last     time.Time
	Duration time.Duration
	Interval string
	Timeout  string
	Samples  uint64 // that the last scrape wrote, those that tell of it included
	Bytes    int64  // of the last answer, not compressed
	Error    string

	target *scrape.Target
}

// targetsView is the section of the targets.
type targetsView struct {
	Query    query
	Total    targetCounts
	Pools    []poolView // shown ones
	AllPools []poolView // with counts only
	// Of a list: rows From to To of Matches.
	Matches, From, To int
	Prev, Next        int // pages; 0: none
}

func viewTargets(set targetSet, q query) targetsView {
	v := targetsView{Query: q}
	counts := map[string]*targetCounts{}
	for _, p := range set.pools {
		counts[p] = &targetCounts{Dropped: set.droppedCounts[p]}
	}
	var found []candidate
	words := strings.Fields(strings.ToLower(q.Text))
	consider := func(c candidate) {
		if (q.Pool == "" || c.pool == q.Pool) && (q.State == "" && c.health != dropped || q.State == string(c.health)) && matches(c, words) {
			found = append(found, c)
		}
	}
	for p, targets := range set.active {
		for _, t := range targets {
			c := candidate{p, redact.URL(t.URL().String()), t.Health(), t}
			if counts[p] == nil { // a pool that came between two looks
				counts[p] = &targetCounts{}
			}
			counts[p].add(c.health, 1)
			consider(c)
		}
	}
	if q.State == string(dropped) {
		for p, targets := range set.dropped {
			for _, t := range targets {
				consider(candidate{p, "", dropped, t})
			}
		}
	}
	v.AllPools = sortPools(counts)
	rank := map[string]int{}
	for i, p := range v.AllPools {
		rank[p.Name] = i
		v.Total.Up += p.Counts.Up
		v.Total.Down += p.Counts.Down
		v.Total.Unknown += p.Counts.Unknown
		v.Total.Dropped += p.Counts.Dropped
	}
	for i := range found {
		if found[i].health == dropped {
			found[i].url = found[i].target.DiscoveredLabels(labels.NewBuilder(labels.EmptyLabels())).Get(model.AddressLabel)
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(rank[a.pool]-rank[b.pool], healthRank(a.health)-healthRank(b.health), naturalCompare(a.url, b.url))
	})
	if q.Filtered() {
		v.list(found)
	} else {
		v.overview(found)
	}
	return v
}

// sortPools puts those first that need attention.
func sortPools(counts map[string]*targetCounts) []poolView {
	pools := make([]poolView, 0, len(counts))
	for name, c := range counts {
		pools = append(pools, poolView{Name: name, Counts: *c})
	}
	slices.SortFunc(pools, func(a, b poolView) int {
		return cmp.Or(b.Counts.Down-a.Counts.Down, b.Counts.Unknown-a.Counts.Unknown, naturalCompare(a.Name, b.Name))
	})
	return pools
}

// matches reports whether every word occurs in what is known of a target.
func matches(c candidate, words []string) bool {
	if len(words) == 0 {
		return true
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	ls := c.target.Labels(b)
	if c.health == dropped {
		ls = redact.Labels(c.target.DiscoveredLabels(b))
	}
	text := strings.Builder{}
	fmt.Fprintln(&text, c.pool, c.url, c.health)
	ls.Range(func(l labels.Label) { fmt.Fprintf(&text, "%s=%s\n%[1]s=%[2]q\n", l.Name, l.Value) })
	text.WriteString(targetError(c.target))
	haystack := strings.ToLower(text.String())
	for _, w := range words {
		if !strings.Contains(haystack, w) {
			return false
		}
	}
	return true
}

// overview shows every pool, and the first rows of each as long as the page
// does not get too long.
func (v *targetsView) overview(found []candidate) {
	budget := maxPreview
	for i := range v.AllPools {
		p := v.AllPools[i]
		n := p.Counts.Active()
		shown := n
		if unhealthy := n - p.Counts.Up; unhealthy > 0 && n > poolPreview {
			shown = unhealthy // the others would bury them
		}
		shown = min(shown, poolPreview, budget)
		budget -= shown
		p.More = n - shown
		p.Open = p.Counts.Down > 0 || v.Total.Active() <= fewTargets
		for _, c := range found[:min(n, len(found))] {
			if len(p.Rows) < shown {
				p.Rows = append(p.Rows, row(c))
			}
		}
		found = found[min(n, len(found)):]
		v.Pools = append(v.Pools, p)
	}
}

// list shows one page of what was found.
func (v *targetsView) list(found []candidate) {
	v.Matches = len(found)
	pages := max(1, (len(found)+pageSize-1)/pageSize)
	page := min(v.Query.Page, pages)
	from := (page - 1) * pageSize
	to := min(from+pageSize, len(found))
	v.From, v.To = from+1, to
	if page > 1 {
		v.Prev = page - 1
	}
	if page < pages {
		v.Next = page + 1
	}
	counts := map[string]targetCounts{}
	for _, p := range v.AllPools {
		counts[p.Name] = p.Counts
	}
	for _, c := range found[from:to] {
		if n := len(v.Pools); n == 0 || v.Pools[n-1].Name != c.pool {
			v.Pools = append(v.Pools, poolView{Name: c.pool, Counts: counts[c.pool], Open: true})
		}
		p := &v.Pools[len(v.Pools)-1]
		p.Rows = append(p.Rows, row(c))
	}
}

func row(c candidate) targetRow {
	b := labels.NewBuilder(labels.EmptyLabels())
	r := targetRow{ID: targetID(c.pool, c.target), URL: c.url, Health: string(c.health), target: c.target}
	if c.health == dropped {
		redact.Labels(c.target.DiscoveredLabels(b)).Range(func(l labels.Label) { r.Labels = append(r.Labels, l) })
		return r
	}
	c.target.Labels(b).Range(func(l labels.Label) { r.Labels = append(r.Labels, l) })
	r.Last, r.Duration = c.target.LastScrape(), c.target.LastScrapeDuration()
	r.Interval, r.Timeout = c.target.GetValue(model.ScrapeIntervalLabel), c.target.GetValue(model.ScrapeTimeoutLabel)
	r.Error = targetError(c.target)
	return r
}

// measureTargets fills in what the rows' targets had when they were scraped last.
func (v *pageView) measureTargets(samples, body func(*scrape.Target) uint64) {
	measure := func(r *targetRow) { r.Samples, r.Bytes = samples(r.target), int64(body(r.target)) }
	for _, p := range v.Targets.Pools {
		for i := range p.Rows {
			measure(&p.Rows[i])
		}
	}
	if v.Detail != nil && v.Detail.Row.target != nil {
		measure(&v.Detail.Row)
	}
}

// targetID names a target in a link, as long as its discovered labels stay.
func targetID(pool string, t *scrape.Target) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\xff%s\xff", pool, t.DiscoveredLabels(labels.NewBuilder(labels.EmptyLabels())).Bytes(nil))
	return strconv.FormatUint(h.Sum64(), 36)
}
