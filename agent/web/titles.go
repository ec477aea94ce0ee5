package web

import (
	"net/url"
	"strings"
)

// destinationCard is a destination with what stands above it.
type destinationCard struct {
	destinationView
	Title string
}

func destinationCards(destinations []destinationView) []destinationCard {
	titles := map[string]int{}
	for _, d := range destinations {
		titles[destinationTitle(d.Name, d.URL)]++
	}
	cards := make([]destinationCard, 0, len(destinations))
	for _, d := range destinations {
		c := destinationCard{d, destinationTitle(d.Name, d.URL)}
		if titles[c.Title] > 1 { // several tenants behind one address
			c.Title = d.Name
		}
		cards = append(cards, c)
	}
	return cards
}

// hashLength is that of the hash at the end of a name that scrapeconfig makes.
const hashLength = len("57eff18d")

// destinationTitle is the endpoint's host and port for a destination that the
// configuration gives no name: its own, host-hash, says nothing to anybody.
func destinationTitle(name, address string) string {
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
