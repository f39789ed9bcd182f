"""The published benchmarks, asked of any server with an OpenAI API: tasks, metrics, runs, reports, comparisons."""
