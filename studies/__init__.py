"""The questions: one TOML file a study, and what a study is."""
