package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // signatures that must be refused
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"fmt"
)

// keys signs what the Rust side's library rightly does not: weak keys, weak hashes.
type keys map[string]crypto.Signer

func newKeys() keys {
	made := keys{}
	for name, bits := range map[string]int{"rsa1024": 1024, "rsa2048": 2048} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			fail(err)
		}
		made[name] = key
	}
	for name, curve := range map[string]elliptic.Curve{"p224": elliptic.P224(), "p256": elliptic.P256()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			fail(err)
		}
		made[name] = key
	}
	return made
}

var hashes = map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha512": crypto.SHA512}

// sign answers with the public key, and with a signature where there is a message.
func (k keys) sign(line []byte) (any, error) {
	var asked struct {
		Key, Hash string
		Message   []byte
		Salt      int // PSS with a salt of this length; 0: PKCS #1 v1.5
	}
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	key, hash := k[asked.Key], hashes[asked.Hash]
	if key == nil || hash == 0 {
		return nil, fmt.Errorf("no key %q or no hash %q", asked.Key, asked.Hash)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	hasher := hash.New()
	hasher.Write(asked.Message)
	var options crypto.SignerOpts = hash
	if asked.Salt > 0 {
		options = &rsa.PSSOptions{SaltLength: asked.Salt, Hash: hash}
	}
	signature, err := key.Sign(rand.Reader, hasher.Sum(nil), options)
	return struct {
		Key       []byte `json:"key"`
		Signature []byte `json:"signature"`
	}{spki, signature}, err
}
