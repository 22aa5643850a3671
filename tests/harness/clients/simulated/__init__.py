"""Operations on simulated clients."""
