"""The web console: Streamlit pages that read the API and nothing else."""
