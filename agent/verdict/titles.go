package verdict

import (
	"net/url"
	"strings"
)

// Titles returns what a person calls each destination, by its name, given the URLs by
// name: where two had the same, each is called by its name.
func Titles(urls map[string]string) map[string]string {
	titles, called := map[string]string{}, map[string]int{}
	for name, address := range urls {
		titles[name] = title(name, address)
		called[titles[name]]++
	}
	for name, t := range titles {
		if called[t] > 1 { // several tenants behind one address
			titles[name] = name
		}
	}
	return titles
}

// hashLength is that of the hash at the end of a name that scrapeconfig makes.
const hashLength = len("57eff18d")

// title is the endpoint's host and port for a destination that the
// configuration gives no name: its own, host-hash, says nothing to anybody.
func title(name, address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return name
	}
	hash, ok := strings.CutPrefix(name, u.Hostname()+"-")
	if !ok || len(hash) != hashLength || strings.Trim(hash, "0123456789abcdef") != "" {
		return name
	}
	return u.Host
}
