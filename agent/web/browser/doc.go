// Package browser tests the status page in a real headless Chromium, with a
// real agent, endpoints in trouble and fake targets behind it:
//
//	make test-browser
//
// CHROMIUM names the program if it is not in the path. With SCREENSHOTS set to
// a directory, it leaves pictures of the page there; with PICTURE set to a file, it
// takes the one for the documents (packaging/doc/page.png).
package browser
