// With an assembly file in the package, the compiler takes functions without a body, as requests.go has one.
