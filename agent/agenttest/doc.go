// Package agenttest is the world around an agent, on loopback: an endpoint
// with the manners of an Opstrace cluster (Endpoint) and targets that count
// their scrapes (Targets).
//
// The endpoint takes remote write as Opstrace's own front does (nginx ingress,
// API proxy, Cortex), refuses what Cortex refuses with the same status and
// words, can be put into every kind of trouble at run time, and remembers what
// arrived. A target's first series carries the ordinal of the scrape that it
// answers, so that the two together can say whether every scrape that was
// answered is stored, exactly once and in order:
//
//	endpoint, err := agenttest.NewEndpoint(agenttest.Options{})
//	targets, err := agenttest.NewTargets("127.0.0.1:0")
//	target := targets.Add("t0", agenttest.TargetOptions{Series: 100})
//	// … an agent scrapes targets.ScrapeConfig(…) and writes to endpoint.URL() …
//	err = endpoint.WaitFor(ctx, func(s *agenttest.Snapshot) bool {
//		return s.Scrapes(target, "", time.Time{}).Err() == nil
//	})
//
// The package imports nothing of the agent, so that every package's tests can
// use it.
package agenttest
