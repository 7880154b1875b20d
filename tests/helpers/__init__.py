"""What several tests share: real programs started, states waited for."""
