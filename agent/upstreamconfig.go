package agent

import (
	"net"
	"net/url"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"

	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/regular"
	"github.com/opstrace/opstrace-agent/agent/switching"
)

// answerTime is how long an answer may take to be read to its end, from when it was
// asked for, whatever its timeout says. It is far longer than the pause between two
// scrapes mostly is: a connection is closed when it was idle for so long.
const answerTime = 2 * time.Minute

// longestAnswer is answerTime, and more where the timeout of a job is longer: what is
// within its timeout must not be cut off.
func longestAnswer(jobs []*config.ScrapeConfig) time.Duration {
	longest := answerTime
	for _, job := range jobs {
		longest = max(longest, time.Duration(job.ScrapeTimeout)+answerTime/4)
	}
	return longest
}

// scrapeClient has scrapes wait for nothing but the target, and for that
// not for ever: it reads the files of a job, which are references (see forScraping), and
// ends answers that have none. most is asked at each request.
func scrapeClient(most func() time.Duration) []config_util.HTTPClientOption {
	return []config_util.HTTPClientOption{
		config_util.WithDialContextFunc(switching.Dialer(new(net.Dialer), most)),
		config_util.WithSecretManager(new(regular.Secrets)),
	}
}

// forScraping returns cfg with these jobs, as upstream's scrape manager gets it: with
// references in the place of files, which upstream would wait for, when somebody has put
// a pipe there, beyond timeouts, reloads and stops.
func forScraping(cfg *config.Config, jobs []*config.ScrapeConfig) *config.Config {
	own := *cfg
	own.ScrapeConfigs, own.ScrapeConfigFiles = nil, nil // the latter are among the jobs
	for _, job := range jobs {
		ours := *job
		ours.HTTPClientConfig = regular.Refs(job.HTTPClientConfig)
		if redirectsLeak(job.HTTPClientConfig, job.Params) {
			ours.HTTPClientConfig.FollowRedirects = false
		}
		own.ScrapeConfigs = append(own.ScrapeConfigs, &ours)
	}
	return &own
}

// forDiscovery returns discoveries that wait for no file: with references in their
// place, where HTTP is asked. Others wait by themselves: neither a reload nor a stop
// waits for a discovery.
func forDiscovery(configs discovery.Configs) discovery.Configs {
	own := make(discovery.Configs, 0, len(configs))
	for _, c := range configs {
		switch theirs := c.(type) {
		case *http.SDConfig:
			ours := *theirs
			ours.HTTPClientConfig = regular.Refs(theirs.HTTPClientConfig)
			if u, err := url.Parse(theirs.URL); err != nil || redirectsLeak(theirs.HTTPClientConfig, u.Query()) {
				ours.HTTPClientConfig.FollowRedirects = false
			}
			c = &ours
		case *file.SDConfig:
			c = fileDiscovery{theirs}
		}
		own = append(own, c)
	}
	return own
}

// redirectsLeak reports whether a client with these settings, whose requests have these
// parameters, takes a secret to wherever it is redirected: upstream takes passwords and
// tokens off for another host, but neither a header of any other name nor the parameters,
// which Go's client puts into the Referer.
func redirectsLeak(c config_util.HTTPClientConfig, params url.Values) bool {
	if c.HTTPHeaders != nil {
		for _, h := range c.HTTPHeaders.Headers {
			if len(h.Secrets)+len(h.Files) > 0 {
				return true
			}
		}
	}
	for name := range params {
		if redact.Secret(name) {
			return true
		}
	}
	return false
}
