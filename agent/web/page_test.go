package web

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *time.Time {
	at := noon.Add(-d)
	return &at
}

// TestVerdict: the page says what the verdict says, the worst first, with the hint,
// and nothing of its own.
func TestVerdict(t *testing.T) {
	for want, v := range map[string]verdict.Verdict{
		"good": {Level: verdict.Good, Headline: "All is well", Problems: []verdict.Problem{{Kind: verdict.UncleanEnd, Level: verdict.Note, Text: "It ended"}}},
		"warn": {Level: verdict.Unconfirmed, Headline: "a has not acknowledged anything yet", Problems: []verdict.Problem{{Kind: verdict.Unproven, Level: verdict.Unconfirmed, Text: "a has not acknowledged anything yet"}}},
		"bad": {Level: verdict.Bad, Headline: "a takes nothing: <no> (and 1 more)", Problems: []verdict.Problem{
			{Kind: verdict.NotDelivering, Level: verdict.Bad, Text: "a takes nothing: <no>", Hint: "ask <it>"},
			{Kind: verdict.TargetsDown, Level: verdict.Warn, Text: "1 of 3 targets is down", Hint: "look"},
		}},
	} {
		var body bytes.Buffer
		if err := pageTemplate().ExecuteTemplate(&body, "verdict", pageView{Verdict: v, Level: sign(v.Level), Well: "1 destination up to date."}); err != nil {
			t.Fatal(err)
		}
		got := html.UnescapeString(body.String())
		if !strings.Contains(got, `class="verdict `+want+`"`) || !strings.Contains(got, "<h1>"+v.Headline+"</h1>") {
			t.Errorf("%s: %s", want, got)
		}
		if strings.Contains(got, "1 destination up to date.") != (want == "good") {
			t.Errorf("%s: how well it is, in %s", want, got)
		}
		for i, p := range v.Problems {
			first := i == 0 && want != "good" // then it is the headline
			if strings.Contains(got, "<p>"+p.Text+".") == first || p.Hint != "" && !strings.Contains(got, "Hint: "+p.Hint+".") {
				t.Errorf("%s: %+v is not once in %s", want, p, got)
			}
		}
	}
}

// TestLeftOutOnThePage: series that an endpoint refuses are named, without secrets.
func TestLeftOutOnThePage(t *testing.T) {
	d := delivery.Status{Name: "d", State: delivery.Behind, LeftOut: 3, Why: `One is m{target="http://u:pw@h/?token=hidden"}: too long`}
	v := viewDestination(noon, d, lastHour{})
	if strings.Contains(v.Why, "hidden") || !strings.Contains(v.Why, "too long") {
		t.Errorf("it says %q", v.Why)
	}
}

func TestDestinationStates(t *testing.T) {
	for want, d := range map[string]delivery.Status{
		"good": {State: delivery.Live},
		"warn": {State: delivery.Behind},
		"bad":  {State: delivery.Behind, LastErrorAt: before(0), LastSuccess: before(time.Second)},
	} {
		if v := viewDestination(noon, d, lastHour{}); v.Level != want {
			t.Errorf("%+v is %s instead of %s", d, v.Level, want)
		}
	}
	if v := viewDestination(noon, delivery.Status{State: delivery.HandingOver}, lastHour{}); v.Level != "good" {
		t.Errorf("handing over: %s", v.Level)
	}
	if v := viewDestination(noon, delivery.Status{State: delivery.Live, LastErrorAt: before(0), LastSuccess: before(time.Second)}, lastHour{}); v.Level != "warn" {
		t.Errorf("asked again: %s", v.Level)
	}
	if v := viewDestination(noon, delivery.Status{State: delivery.Behind, LastErrorAt: before(0)}, lastHour{}); v.Level != "bad" {
		t.Errorf("never acknowledged: %s", v.Level)
	}
	v := viewDestination(noon, delivery.Status{Ledger: ledger.Terms{Refused: map[string]uint64{"x": 1, "y": 5, "a": 1}, DamagedBytes: 2048}}, lastHour{})
	if got := fmt.Sprint(v.Ledger[3:]); got != "[{refused refused for good by the endpoint bad 7 0 [{y 5} {a 1} {x 1}]} {damaged on disk, but unreadable bad 0 2048 []}]" {
		t.Error(got)
	}
}

// TestJudgedCard: a destination has the colour of what the verdict says of it, and not
// of what it says of a job of the same name.
func TestJudgedCard(t *testing.T) {
	for name, c := range map[string]struct {
		state   delivery.State
		problem verdict.Problem
		want    string
	}{
		"well":                     {delivery.Live, verdict.Problem{Kind: verdict.NoTargets, Level: verdict.Warn}, "good"},
		"live, and takes nothing":  {delivery.Live, verdict.Problem{Kind: verdict.NotDelivering, Level: verdict.Bad, About: "a"}, "bad"},
		"everything is refused":    {delivery.Live, verdict.Problem{Kind: verdict.Uncertain, Level: verdict.Bad, About: "a"}, "bad"},
		"another takes nothing":    {delivery.Live, verdict.Problem{Kind: verdict.NotDelivering, Level: verdict.Bad, About: "b"}, "good"},
		"a job of this name":       {delivery.Live, verdict.Problem{Kind: verdict.JobStopped, Level: verdict.Warn, About: "a"}, "good"},
		"behind, and nothing said": {delivery.Behind, verdict.Problem{Kind: verdict.UncleanEnd, Level: verdict.Note}, "warn"},
	} {
		v := viewDestination(noon, delivery.Status{Name: "a", State: c.state}, lastHour{})
		v.judged(verdict.Verdict{Problems: []verdict.Problem{c.problem}})
		if v.Level != c.want {
			t.Errorf("%s: %s instead of %s", name, v.Level, c.want)
		}
	}
}

// fakePool makes targets of which the first are down and the last not scraped yet.
func fakePool(pool string, down, up, unknown int) (targets []*scrape.Target) {
	for i := range down + up + unknown {
		addr := fmt.Sprintf("%s-%03d.example.org:9100", pool, i)
		target := scrape.NewTarget(
			labels.FromStrings(model.AddressLabel, addr, model.SchemeLabel, "http", model.MetricsPathLabel, "/metrics", "instance", addr, "job", pool, "rack", fmt.Sprint("r", i%7)),
			&config.ScrapeConfig{Params: map[string][]string{"auth_token": {"s3cret"}}},
			model.LabelSet{model.AddressLabel: model.LabelValue(addr)}, model.LabelSet{"__meta_zone": "z1", "__param_auth_token": "s3cret"})
		switch {
		case i < down:
			target.Report(noon, time.Second, errors.New(`Get "http://x/metrics?auth_token=s3cret": connection refused`))
		case i < down+up:
			target.Report(noon, time.Second, nil)
		}
		targets = append(targets, target)
	}
	return targets
}

func shown(v targetsView) string {
	var b strings.Builder
	for _, p := range v.Pools {
		states := map[string]int{}
		for _, r := range p.Rows {
			states[r.Health]++
		}
		fmt.Fprintf(&b, "%s open=%v %v more=%d; ", p.Name, p.Open, states, p.More)
	}
	return b.String()
}

func TestTargetList(t *testing.T) {
	set := targetSet{
		pools: []string{"a", "b", "c", "d"},
		active: map[string][]*scrape.Target{
			"a": fakePool("a", 0, 250, 0), "b": fakePool("b", 30, 500, 2), "c": fakePool("c", 1, 5, 0), "d": nil,
		},
		dropped:       map[string][]*scrape.Target{"a": fakePool("x", 0, 0, 130)},
		droppedCounts: map[string]int{"a": 130, "b": 0},
	}
	for query, want := range map[string]string{
		"":                          "b open=true map[down:20] more=512; c open=true map[down:1 up:5] more=0; a open=false map[up:20] more=230; d open=false map[] more=0; ",
		"state=down":                "b open=true map[down:30] more=0; c open=true map[down:1] more=0; ",
		"state=unknown":             "b open=true map[unknown:2] more=0; ",
		"pool=c":                    "c open=true map[down:1 up:5] more=0; ",
		"pool=b":                    "b open=true map[down:30 unknown:2 up:68] more=0; ",
		"pool=b&page=6":             "b open=true map[up:32] more=0; ",
		"pool=b&page=99":            "b open=true map[up:32] more=0; ",
		"pool=b&page=-1":            "b open=true map[down:30 unknown:2 up:68] more=0; ",
		"pool=none":                 "",
		"q=C-00+refused":            "c open=true map[down:1] more=0; ",
		`q=instance="c-001`:         "c open=true map[up:1] more=0; ",
		"q=rack=r3 job=c":           "c open=true map[up:1] more=0; ",
		"q=s3cret":                  "",
		"state=dropped":             "a open=true map[dropped:100] more=0; ",
		"state=dropped&page=2":      "a open=true map[dropped:30] more=0; ",
		"state=dropped&q=meta_zone": "a open=true map[dropped:100] more=0; ",
		"state=dropped&q=s3cret":    "",
		"state=bogus":               "b open=true map[down:20] more=512; c open=true map[down:1 up:5] more=0; a open=false map[up:20] more=230; d open=false map[] more=0; ",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		v := viewTargets(set, parseQuery(values))
		if got := shown(v); got != want {
			t.Errorf("%s:\n%s\ninstead of\n%s", query, got, want)
		}
		if want := (targetCounts{Up: 755, Down: 31, Unknown: 2, Dropped: 130}); v.Total != want {
			t.Errorf("%s: the totals follow the filter: %+v", query, v.Total)
		}
	}
	few := viewTargets(targetSet{pools: []string{"a"}, active: map[string][]*scrape.Target{"a": fakePool("a", 0, fewTargets, 0)}}, query{})
	if got := shown(few); got != "a open=true map[up:12] more=0; " {
		t.Errorf("few targets: %s", got)
	}
}

func TestExplainTarget(t *testing.T) {
	cfg, err := config.Load(`
scrape_configs:
- job_name: a
  relabel_configs:
  - {source_labels: [__meta_zone], target_label: zone}
  - {source_labels: [__address__], regex: "a-001.*", action: drop}
  - {regex: zone, action: labeldrop}
  - {target_label: __param_auth_token, replacement: s3cret}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	targets := fakePool("a", 1, 1, 0)
	set := targetSet{active: map[string][]*scrape.Target{"a": targets[:1]}, dropped: map[string][]*scrape.Target{"a": targets[1:]}}
	poolConfig := func(string) (*config.ScrapeConfig, error) { return cfg.ScrapeConfigs[0], nil }

	kept := explainTarget(set, targetID("a", targets[0]), poolConfig)
	if got := fmt.Sprint(kept.Steps); got != "[{replace · source_labels: __meta_zone · target_label: zone [{zone  z1 added}] false false} "+
		"{drop · source_labels: __address__ · regex: a-001.* [] false false} "+
		"{labeldrop · regex: zone [{zone z1  removed}] false false} "+
		"{replace · target_label: __param_auth_token · replacement: \"<secret>\" [] false false}]" {
		t.Error(got)
	}
	if kept.Dropped || kept.Pool != "a" || strings.Contains(fmt.Sprint(*kept), "s3cret") {
		t.Errorf("%+v", kept)
	}
	gone := explainTarget(set, targetID("a", targets[1]), poolConfig)
	if !gone.Dropped || !gone.Steps[1].Drops || !gone.Steps[2].Unseen || gone.Steps[1].Unseen || gone.Steps[0].Drops {
		t.Errorf("%+v", gone)
	}
	if d := explainTarget(set, "zzz", poolConfig); d == nil || !d.Gone {
		t.Errorf("a target that is not there: %+v", d)
	}
	if explainTarget(set, "", poolConfig) != nil {
		t.Error("nothing was asked for")
	}
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

// What a policy without inline code would refuse must not be on the page, and
// what it refers to must be there.
func TestPageObeysItsPolicy(t *testing.T) {
	for _, prefix := range []string{"", "/agent"} {
		s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry(), RoutePrefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		rec := get(t, s.Handler(), prefix+"/")
		page := rec.Body.String()
		if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" || rec.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %v", rec.Code, rec.Header())
		}
		policy := rec.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("the policy lacks %s: %s", part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("the policy allows too much: %s", policy)
		}
		if found := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script>|https?://`).FindAllString(page, -1); len(found) > 0 {
			t.Errorf("on the page: %q", found)
		}
		assets := regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
		if len(assets) != 3 {
			t.Errorf("assets: %q", assets)
		}
		for _, a := range assets {
			rec := get(t, s.Handler(), prefix+"/"+a[1])
			if rec.Code != 200 || rec.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || rec.Body.Len() == 0 {
				t.Errorf("%s: %d %v", a[1], rec.Code, rec.Header())
			}
		}
		for _, path := range []string{"/assets/0/page.css", "/assets/" + assetVersion + "/none", "/assets/" + assetVersion + "/", "/assets/", "/none"} {
			if rec := get(t, s.Handler(), prefix+path); rec.Code != 404 {
				t.Errorf("%s: %d", path, rec.Code)
			}
		}
	}
}

// A target, a label or an endpoint must not be able to write on the page.
func TestPageEscapes(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	target := scrape.NewTarget(
		labels.FromStrings(model.AddressLabel, "h:1", model.SchemeLabel, "javascript", model.MetricsPathLabel, "/"+evil, "instance", evil, evil, evil),
		&config.ScrapeConfig{}, model.LabelSet{"l": evil}, nil)
	target.Report(noon, 0, errors.New(evil))
	cfg, err := config.Load(`scrape_configs: [{job_name: "<i>", relabel_configs: [{target_label: x, replacement: "<b>"}]}]`, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry(), Flags: map[string]string{evil: evil}})
	if err != nil {
		t.Fatal(err)
	}
	set := targetSet{pools: []string{evil}, active: map[string][]*scrape.Target{evil: {target}}, dropped: map[string][]*scrape.Target{evil: {target}}}
	q := query{Text: "alert", Pool: evil, Page: 1}
	st := agent.Status{Ready: true, Waiting: evil, Destinations: []delivery.Status{{
		Name: evil, URL: evil, State: delivery.Behind, LastError: evil, LastErrorAt: before(0), LeftOut: 1, Why: evil, Ledger: ledger.Terms{Refused: map[string]uint64{evil: 1}},
	}}, Kept: []delivery.Kept{{Name: evil, URL: evil}}}
	v := s.view(noon, st, set, q)
	v.Config = evil
	v.Detail = explainTarget(set, targetID(evil, target), func(string) (*config.ScrapeConfig, error) { return cfg.ScrapeConfigs[0], nil })
	if v.Detail == nil || v.Detail.Gone || len(v.Targets.Pools) != 1 {
		t.Fatalf("%+v", v)
	}
	rec := httptest.NewRecorder()
	s.render(rec, httptest.NewRequest(http.MethodGet, "/", nil), v)
	page := rec.Body.String()
	if rec.Code != 200 || !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Fatalf("%d %s", rec.Code, page)
	}
	for _, raw := range []string{"<script>alert", "<img", "<b>\"", "href=\"javascript", "'>"} {
		if strings.Contains(page, raw) {
			t.Errorf("unescaped: %s", page[max(0, strings.Index(page, raw)-80):][:160])
		}
	}
}
