package similar

import "testing"

func TestWord(t *testing.T) {
	known := []string{"status", "check", "init", "run", "config.file", "scrape_configs", "static_configs"}
	for word, want := range map[string]string{
		"statsu": "status", "stauts": "status", "chek": "check", "config.flie": "config.file",
		"scrape_config": "scrape_configs", "static_config": "static_configs", "rnu": "run",
		"status": "", "bogus": "", "it": "", "": "", "rum": "run", "remote_write": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
