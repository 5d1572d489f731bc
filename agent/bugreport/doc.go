// Package bugreport gathers what support needs to know of a board into one archive (gzipped tar): version, configuration, status,
// status logs, the buffer's state without its records, and what kernel, USB and serial ports are like. It changes nothing, works
// beside the running agent and without it, and goes on when a part cannot be had: README.txt in the archive names what is missing.
//
// Nothing secret gets in, and no record. The contents of credential files, keys and secret variables of the environment are known to
// the writer and removed wherever they turn up; what else looks like a secret (private keys, AWS key ids and secrets, tokens,
// passwords, user names in URLs) is removed by its shape. What is removed reads [removed]. A secret that is in none of those places
// and looks like nothing is not found: README.txt asks its reader to look before he sends it.
package bugreport
