//! Which adapter the programs open, and what they say where there is none: each is asked as a process.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

mod backends {
    use std::io::Write as _;
    use std::process::Command;

    /// Each with the words that it needs besides: nothing is read from standard input.
    const PROGRAMS: [(&str, &[&str]); 2] = [
        (env!("CARGO_BIN_EXE_split-edge"), &[]),
        (env!("CARGO_BIN_EXE_split-device"), &["-"]),
    ];

    /// What a program says that can't go on. Nobody names a model: it is missed once the backend is open.
    fn refusal((program, words): (&str, &[&str]), backend: &str, hides_adapters: bool) -> String {
        let mut command = Command::new(program);
        command.args(["--backend", backend]).args(words);
        for variable in ["SPLIT_EDGE_MODELS", "SPLIT_DEVICE_MODEL"] {
            command.env_remove(variable);
        }
        if hides_adapters {
            // Neither Vulkan's loader nor that of EGL, through which OpenGL would answer, finds a driver.
            for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
                command.env(variable, "/dev/null");
            }
            command.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/dev/null");
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{command:?} went well");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Whether this build has wgpu and a driver answers it; says so where not.
    fn answers_wgpu() -> bool {
        let why = if !cfg!(feature = "wgpu") {
            "wgpu is not in this build (feature wgpu)"
        } else if refusal(PROGRAMS[0], "wgpu", false).contains("no graphics adapter answers") {
            "no Vulkan driver answers wgpu"
        } else {
            return true;
        };
        // Straight to the stream: the test runner keeps what is printed.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
        false
    }

    #[test]
    fn without_an_adapter_one_error_names_the_way_out() {
        for program in PROGRAMS {
            for backend in ["wgpu", "wgpu:0"] {
                let said = refusal(program, backend, true);
                let expected = if cfg!(feature = "wgpu") {
                    ["no graphics adapter answers", "VK_DRIVER_FILES"]
                } else {
                    ["this build has no backend wgpu", "--features bin,wgpu"]
                };
                for words in expected.into_iter().chain(["--backend flex"]) {
                    assert!(said.contains(words), "{words:?} is not in {said}");
                }
                assert_eq!(said.lines().count(), 1, "{said}");
            }
        }
    }

    #[test]
    fn a_number_that_no_adapter_has_is_refused_with_those_that_there_are() {
        if !answers_wgpu() {
            return;
        }
        for program in PROGRAMS {
            let said = refusal(program, "wgpu:4242", false);
            assert!(said.contains("there is no adapter wgpu:4242"), "{said}");
            let listed = said.split("choose from ").nth(1).unwrap();
            assert!(listed.starts_with("wgpu:0 ("), "{said}");
        }
    }

    #[test]
    fn an_adapter_is_opened_by_its_number() {
        if !answers_wgpu() {
            return;
        }
        for program in PROGRAMS {
            for backend in ["wgpu", "wgpu:0"] {
                let said = refusal(program, backend, false);
                assert!(said.contains("model"), "{backend}: {said}");
                assert!(!said.contains("adapter"), "{backend}: {said}");
            }
        }
    }
}
