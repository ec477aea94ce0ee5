package agent

import (
	"net"
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
func (a *Agent) scrapeClient(most func() time.Duration) []config_util.HTTPClientOption {
	return []config_util.HTTPClientOption{
		config_util.WithDialContextFunc(a.host.Dialer(switching.Dialer(new(net.Dialer), most))),
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
		ours.HTTPClientConfig = redact.Redirects(regular.Refs(job.HTTPClientConfig), job.Params)
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
			ours.HTTPClientConfig = redact.RedirectsOf(regular.Refs(theirs.HTTPClientConfig), theirs.URL)
			c = &ours
		case *file.SDConfig:
			c = fileDiscovery{theirs}
		}
		own = append(own, c)
	}
	return own
}
